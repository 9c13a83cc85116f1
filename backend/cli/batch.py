"""Commands about batch jobs: run a file of requests, list, status, cancel, results; all through the running gateway."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from backend.cli.gateway_calls import GatewayCaller, Key
from backend.cli.options import spread
from backend.cli.output import AsJson, CommandFailed, paint, put, put_json, put_rows, say, show_dollars, show_time

app = typer.Typer(help="Batch jobs: run, list, status, cancel, results.", no_args_is_help=True)

JobId = Annotated[str, typer.Argument(help="The id of a batch: batch_…")]
COLOURS = {"completed": "green", "failed": "red", "expired": "red", "cancelled": "yellow"}


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """A file of requests, and what may be spent on it."""

    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="JSON lines as OpenAI's batches have them.")]
    output: Annotated[Path | None, typer.Option(help="Where the results go; FILE.results.jsonl when left out.")] = None
    max_cost: Annotated[str | None, typer.Option(help="Dollars after which no more lines are begun.")] = None
    again: Annotated[bool, typer.Option("--again", help="Run a file anew that was run before.")] = False
    detach: Annotated[bool, typer.Option("--detach", help="Begin and return; the gateway goes on.")] = False
    ray: Annotated[bool, typer.Option("--ray", help="Spread the lines over a Ray cluster instead of a job.")] = False
    cluster: Annotated[str | None, typer.Option(help="The cluster's address; a local one when left out.")] = None
    key: Key = "none"
    as_json: AsJson = False


@app.command("run")
@spread(RunOptions)
def run(options: RunOptions) -> None:
    """Run a file of requests; the same file again goes on with the job that is not finished."""
    from backend.cli.batch_run import find_or_create, read_order, watch

    target = options.output or options.file.with_name(f"{options.file.stem}.results.jsonl")
    if options.ray:
        from backend.cli.batch_ray import RayRun, run_over_ray

        run_over_ray(RayRun(options.file, target, options.key, options.cluster, options.max_cost))
        return
    caller = GatewayCaller(options.key)
    job = find_or_create(caller, read_order(options.file, options.max_cost), again=options.again)
    if options.detach:
        _put_job(job, as_json=options.as_json)
        return
    job = watch(caller, job)
    lines = _write_results(caller, job, target)
    _put_job(job, as_json=options.as_json)
    if lines:
        say(f"{lines} results are in {target}.")
    if job["status"] != "completed" or job["request_counts"]["failed"]:
        raise CommandFailed(_say_failure(job))


@app.command("list")
def list_jobs(
    limit: Annotated[int, typer.Option(min=1, max=100, help="Most jobs to list.")] = 20,
    key: Key = "none",
    as_json: AsJson = False,
) -> None:
    """List jobs, the newest first."""
    found = GatewayCaller(key).ask("GET", f"/v1/batches?limit={limit}")["data"]
    put_rows(found if as_json else [_show_job(job) for job in found], as_json=as_json)


@app.command("status")
def show_status(job_id: JobId, key: Key = "none", as_json: AsJson = False) -> None:
    """Show how far a job is, and what it has cost."""
    _put_job(GatewayCaller(key).ask("GET", f"/v1/batches/{job_id}"), as_json=as_json)


@app.command("cancel")
def cancel(job_id: JobId, key: Key = "none", as_json: AsJson = False) -> None:
    """End a job; lines under way finish, the rest is left undone."""
    _put_job(GatewayCaller(key).ask("POST", f"/v1/batches/{job_id}/cancel"), as_json=as_json)


@app.command("results")
def show_results(
    job_id: JobId,
    output: Annotated[Path | None, typer.Option(help="Write to this file instead.")] = None,
    key: Key = "none",
) -> None:
    """Print the result of every line as JSON lines: answers first, then what failed or was not done."""
    caller = GatewayCaller(key)
    job = caller.ask("GET", f"/v1/batches/{job_id}")
    if output is not None:
        say(f"{_write_results(caller, job, output)} results are in {output}.")
        return
    sys.stdout.write(_read_results(caller, job).decode())


def _read_results(caller: GatewayCaller, job: Mapping[str, Any]) -> bytes:
    ids = (job["output_file_id"], job["error_file_id"])
    return b"".join(caller.read(f"/v1/files/{file_id}/content") for file_id in ids if file_id)


def _write_results(caller: GatewayCaller, job: Mapping[str, Any], target: Path) -> int:
    """Results that were written; a file is written whole or not at all."""
    content = _read_results(caller, job)
    if content:
        draft = target.with_name(target.name + ".part")
        draft.write_bytes(content)
        draft.replace(target)
    return content.count(b"\n")


def _show_job(job: Mapping[str, Any]) -> dict[str, Any]:
    counts = job["request_counts"]
    return {
        "id": job["id"],
        "status": job["status"],
        "done": f"{counts['completed'] + counts['failed']}/{counts['total']}",
        "failed": counts["failed"],
        "cost": show_dollars(job["governor"]["cost_nusd"]),
        "model": job["model"],
        "created_at": show_time(job["created_at"] * 1000),
    }


def _put_job(job: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        put_json(job)
        return
    shown = _show_job(job)
    status = paint(shown["status"], COLOURS.get(shown["status"], "cyan"))
    put(f"{paint(shown['id'], 'bold')}  {status}  {shown['done']} done, {shown['failed']} failed, {shown['cost']}")
    for error in (job["errors"] or {"data": []})["data"][:20]:
        where = f"line {error['line']}: " if error["line"] else ""
        put(f"  {where}{error['message']} ({error['code']})")


def _say_failure(job: Mapping[str, Any]) -> str:
    failed = job["request_counts"]["failed"]
    if job["status"] == "failed" and not job["in_progress_at"]:
        return "The file was refused; no line was sent."
    return f"The job is {job['status']}; {failed} of its lines failed or were not done."
