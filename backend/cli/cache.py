"""Commands about the cache: how it is, what a question would meet, what is served most, purge, review."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import typer

from backend.cli.options import spread
from backend.cli.output import AsJson, CommandFailed, Reason, paint, put, put_json, put_rows, show_dollars, show_time

app = typer.Typer(help="The cache: status, look-up, top entries, purge, review.", no_args_is_help=True)

Tenant = Annotated[str | None, typer.Option(help="Only entries of this tenant.")]
Model = Annotated[str | None, typer.Option(help="Only entries of this model.")]
COLOURS = {"serving": "green", "observe": "yellow", "exact only": "yellow"}


@app.command("status")
def show_status(as_json: AsJson = False) -> None:
    """Show both layers, and what the semantic one may serve by now."""
    found = _ask("GET", "/control/cache")
    if as_json:
        put_json(found)
        return
    exact, semantic = found["exact"], found["semantic"]
    put(f"{paint('exact', 'bold')}     {_say_on(exact)}, {_count(exact['entries'])} entries in {exact['store']}")
    put(f"{paint('semantic', 'bold')}  {_say_on(semantic)}, {_count(semantic['entries'])} entries, {semantic['state']}")
    if semantic["decision"]:
        put(f"          {semantic['mode']}; embedder {semantic['embedder']}")
        put(f"          {_say_decision(semantic['decision'])}")
    for name, say in (("verifier", _say_verifier), ("comparisons", _say_comparisons)):
        if semantic.get(name):  # a gateway of an earlier release does not say it
            put(f"          {say(semantic[name])}")
    if found.get("money"):
        put(f"{paint('money', 'bold')}     {_say_money(found['money'])}")
    shown = [_show_partition(each) for each in semantic["partitions"]]
    if shown:
        put_rows(shown, as_json=False)


@dataclass(frozen=True, kw_only=True)
class LookUpOptions:
    """A question as a caller would send it."""

    question: Annotated[str, typer.Argument(help="The question, as the last turn of a chat.")]
    model: Annotated[str, typer.Option(help="The model it would be put to.")]
    tenant: Annotated[str | None, typer.Option(help="Who asks; needed where there are keys.")] = None
    system: Annotated[str | None, typer.Option(help="The system prompt before it.")] = None
    parameter: Annotated[list[str] | None, typer.Option(help="NAME=JSON of the request, such as temperature=0.")] = None
    as_json: AsJson = False


@app.command("lookup")
@spread(LookUpOptions)
def look_up(options: LookUpOptions) -> None:
    """Show what a question would meet in the cache, and why; it counts as no call and no hit."""
    turns = [] if options.system is None else [{"role": "system", "content": options.system}]
    asked = {
        "model": options.model,
        "messages": [*turns, {"role": "user", "content": options.question}],
        "parameters": _read_parameters(options.parameter or ()),
        "tenant": options.tenant,
    }
    found = _ask("POST", "/control/cache/lookup", asked)
    if options.as_json:
        put_json(found)
        return
    hit = found["exact"]
    put(f"exact     {_say_hit(hit) if hit else found['exact_reason']}")
    put(f"semantic  {found['reason'] or _say_decision(found['decision'])}")
    if found["nearest"]:
        put_rows([_show_neighbour(each) for each in found["nearest"]], as_json=False)


@app.command("top")
def list_top(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most entries to list.")] = 20,
    tenant: Tenant = None,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """List the entries that were served most often."""
    found = _ask("POST", "/control/cache/top", {"limit": limit, "tenant": tenant, "model": model})
    times = ("stored_at", "expires_at")
    rows = [each | {name: show_time(each[name]) for name in times} for each in found["entries"]]
    if not as_json:
        rows = [each | {"cost": show_dollars(each["cost_nusd"])} for each in rows]
    columns = ["hits", "cost", "tenant", "model", "stored_at", "expires_at", "call_id", "question"]
    put_rows(rows, as_json=as_json, columns=columns)


@dataclass(frozen=True, kw_only=True)
class PurgeOptions:
    """Which entries go: those that meet every condition."""

    reason: Annotated[str, typer.Option(help="Why; kept with the act.")] = ""
    tenant: Tenant = None
    model: Model = None
    partition: Annotated[str | None, typer.Option(help="Only those of this partition, 32 hexadecimal digits.")] = None
    call: Annotated[list[str] | None, typer.Option(help="Only the answer of this call; may be repeated.")] = None
    older_than: Annotated[str | None, typer.Option(help="Only those stored before then: 24h, 7d, a time.")] = None
    everything: Annotated[bool, typer.Option("--all", help="All entries of both layers.")] = False
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count them, delete nothing.")] = False
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask, also at a terminal.")] = False
    as_json: AsJson = False


@app.command("purge")
@spread(PurgeOptions)
def purge(options: PurgeOptions) -> None:
    """Delete entries of both layers: no gateway serves them any more."""
    from backend.cli.settings import sign

    if not options.dry_run and not options.reason.strip():
        raise typer.BadParameter("--reason says why; it is kept with the act.")
    asked = _select(options)
    dry = {"dry_run": True, "reason": options.reason}
    if not options.dry_run and not options.yes and sys.stdin.isatty():
        counted = _ask("POST", "/control/cache/purge", asked | dry)
        raise CommandFailed(f"This deletes {_say_amount(counted)}. Say --yes to do it.")
    wet = {"dry_run": False, "reason": options.reason, "actor": sign(options.reason or "-").actor}
    found = _ask("POST", "/control/cache/purge", asked | (dry if options.dry_run else wet))
    if options.as_json:
        put_json(found)
    else:
        put(f"{'Would delete' if options.dry_run else 'Deleted'} {_say_amount(found)}.")


@app.command("review")
def review(
    call: Annotated[str, typer.Argument(help="The id of a call that was, or could have been, a semantic hit.")],
    verdict: Annotated[Literal["good", "bad"], typer.Argument(help="Was the cached answer as good as a fresh one?")],
    reason: Reason,
    as_json: AsJson = False,
) -> None:
    """Say whether a semantic hit was right; it counts more than what machines said of it."""
    from backend import actions
    from backend.cli.database import opened_current
    from backend.cli.settings import sign

    with opened_current() as engine:
        actions.review_hit(engine, actions.Review(call, same=verdict == "good", note=reason), sign(reason))
    put_json({"call_id": call, "verdict": verdict}) if as_json else put(f"Call {paint(call, 'bold')} is {verdict}.")


def _ask(method: str, path: str, body: Any = None) -> dict[str, Any]:
    from backend.cli.control import ask_control

    return ask_control(method, path, body)


def _select(options: PurgeOptions) -> dict[str, Any]:
    chosen = {name: getattr(options, name) for name in ("tenant", "model", "partition")}
    chosen["call_ids"] = options.call
    chosen["older_than_s"] = _read_age(options.older_than) if options.older_than else None
    chosen = {name: value for name, value in chosen.items() if value is not None}
    if options.everything == bool(chosen):
        raise typer.BadParameter("Say which entries: --tenant, --model, --partition, --call or --older-than; or --all.")
    return chosen | ({"all": True} if options.everything else {})


def _read_age(text: str) -> float:
    import time

    from backend.cli.moments import read_moment

    age_s = time.time() - read_moment(text) / 1000
    if age_s < 0:
        raise typer.BadParameter(f"{text!r} is in the future.")
    return age_s


def _read_parameters(parameters: Sequence[str]) -> dict[str, Any]:
    import orjson

    pairs = [parameter.partition("=") for parameter in parameters]
    try:
        return {name: orjson.loads(value) for name, _, value in pairs}
    except orjson.JSONDecodeError:
        raise typer.BadParameter(f"{' '.join(parameters)!r} is not NAME=JSON.") from None


def _say_on(layer: Mapping[str, Any]) -> str:
    return "on" if layer["enabled"] else "off"


def _count(entries: int | None) -> str:
    return "unknown" if entries is None else f"{entries:,}"


def _say_amount(amount: Mapping[str, Any]) -> str:
    return f"{_count(amount['exact'])} exact and {_count(amount['semantic'])} semantic entries"


def _say_decision(decision: Mapping[str, Any]) -> str:
    return f"{paint(decision['state'], COLOURS.get(decision['state'], 'dim'))}: {decision['reason']}"


def _say_verifier(verifier: Mapping[str, Any]) -> str:
    last, waiting = verifier["last"], verifier["waiting"]
    said = f"verifier {verifier['name']}" + (f"; {waiting} waits for evidence of its own" if waiting else "")
    if last is not None:
        gain = f"{last['gain']:+.3f} nats a label, at least {last['gain_low']:+.3f}"
        came = "taken up" if last["adopted"] else "not taken up"
        said += f"; refitted on {last['labels']:,} labels: {gain}, {came}"
    return f"{said}; refits at {verifier['next_at']:,} labels, now {verifier['labels']:,}"


def _say_comparisons(made: Mapping[str, Any]) -> str:
    judge = f"judge {made['judge']}, {made['judge_failed']:,} times without a verdict" if made["judge"] else "no judge"
    return f"answers compared by text, numbers, structure and embeddings; {judge}; {made['dropped']:,} left out"


def _say_money(money: Mapping[str, Any]) -> str:
    paid = {"fresh": "fresh answers to verify", "judge": "judge", "embedding": "embedding", "prefetch": "prefetch"}
    less = [f"{show_dollars(money[f'{name}_nusd'])} {what}" for name, what in paid.items() if money[f"{name}_nusd"]]
    saved = f"saved {show_dollars(money['saved_nusd'])}" + "".join(f", less {each}" for each in less)
    return f"last 24 h: {saved}: net {show_dollars(money['net_nusd'])}"


def _say_hit(hit: Mapping[str, Any]) -> str:
    return f"hit: call {hit['call_id']}, stored {show_time(hit['stored_at'])}, saves {show_dollars(hit['cost_nusd'])}"


def _show_partition(each: Mapping[str, Any]) -> dict[str, Any]:
    named = {name: each.get(name) for name in ("partition", "tenant", "model", "labels", "false_hits")}
    return named | {name: each.get(name) for name in ("state", "threshold", "scope")}


def _show_neighbour(each: Mapping[str, Any]) -> dict[str, Any]:
    verdict = "agrees" if each["gate"]["agrees"] else "; ".join(each["gate"]["findings"])
    return {
        "serve": "yes" if each["would_serve"] else "no",
        "probability": f"{each['probability']:.3f}",
        "similarity": f"{each['similarity']:.3f}",
        "question": each["question"],
        "gate": verdict,
        "call_id": each["call_id"],
    }
