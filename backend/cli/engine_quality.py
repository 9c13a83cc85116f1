"""Commands about what a smaller model costs in quality: quality, qualities and quantise."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.cli.database import opened_current, read_settled_environment
from backend.cli.engine_place import served, spec_served
from backend.cli.options import spread
from backend.cli.output import AsJson, CommandFailed, put, put_json, put_rows, say, show_time

if TYPE_CHECKING:
    from backend.engine.quality import Scores
    from backend.engine.quality_kept import Judged
    from db.engine_qualities import EngineQuality


def register(app: typer.Typer) -> None:
    """Adds the commands to `governor engine`."""
    app.command("quality")(compare)
    app.command("qualities")(list_all)
    app.command("quantise")(quantise)


@dataclass(frozen=True, kw_only=True)
class QualityOptions:
    """Two models and a text."""

    name: Annotated[str, typer.Argument(help="The engine to judge.")]
    text: Annotated[Path, typer.Option(help="A text file they are judged on.")]
    reference: Annotated[str, typer.Option(help="The full-precision engine, or the folder of its model.")]
    rows: Annotated[int, typer.Option(min=1, max=10_000, help="Most pieces of the text.")] = 32
    length: Annotated[int, typer.Option(min=2, max=100_000, help="Tokens of each.")] = 256
    as_json: AsJson = False


@spread(QualityOptions)
def compare(options: QualityOptions) -> None:
    """Compare an engine's perplexity and best guesses with those of the full-precision model on a text; it is kept."""
    from backend.engine.quality import Unscored, compare_scores, cut_rows, score_served, tokenise
    from backend.engine.quality_kept import describe_quality, keep_quality

    judged = _name_both(options)
    try:
        text = options.text.read_text(encoding="utf-8")
        with served(options.name) as place:
            rows = cut_rows(tokenise(place, text), options.length, options.rows)
            scores = score_served(place, rows, _progress(options.name))
        reference = _score_reference(options.reference, rows)
        found = describe_quality(judged, compare_scores(reference, scores))
    except (Unscored, ValueError) as error:
        raise CommandFailed(str(error)) from None
    except OSError as error:
        raise CommandFailed(f"{options.text} cannot be read: {error.strerror}") from None
    _tell(found, options.as_json)
    with opened_current() as engine:
        keep_quality(engine, found)
    say(f"Kept as the quality of {found.engine}; `governor engine qualities` lists what was measured.")


def list_all(
    name: Annotated[str | None, typer.Argument(help="Only of this engine.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most comparisons.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List what engines were found to be worth beside full precision, newest first."""
    from backend.reports.engine_quality import read_qualities
    from backend.reports.ledger import open_ledger

    with opened_current():
        found = read_qualities(open_ledger(read_settled_environment()), name, limit)
    put_rows(map(_state if as_json else _shorten, found), as_json=as_json)


def _name_both(options: QualityOptions) -> Judged:
    from backend.engine.quality_kept import Judged
    from backend.engine.weights import variant_of, variant_of_folder

    variant, folder = variant_of(spec_served(options.name)), Path(options.reference)
    if folder.is_dir():
        return Judged(options.name, variant, None, variant_of_folder(folder), options.text.name)
    reference = variant_of(spec_served(options.reference))
    return Judged(options.name, variant, options.reference, reference, options.text.name)


def _score_reference(reference: str, rows: Sequence[Sequence[int]]) -> Scores:
    from backend.engine.launch import find_python
    from backend.engine.quality import score_served, score_unserved

    if Path(reference).is_dir():
        say(f"scoring {reference} with transformers …")
        return score_unserved(reference, rows, find_python(os.environ))
    with served(reference) as place:
        return score_served(place, rows, _progress(reference))


def _tell(found: EngineQuality, as_json: bool) -> None:
    if as_json:
        put_json(_state(found))
        return
    put(f"perplexity   {found.perplexity:.3f}, full precision {found.reference_perplexity:.3f}")
    put(f"ratio        {found.perplexity_ratio:.4f}")
    put(f"agreement    {found.agreement:.2%} of {found.tokens:,} tokens")
    put(f"difference   {found.mean_difference:.4f} nats a token")
    put(f"weights      {_show_weights(found)}")


def _state(found: EngineQuality) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(found) | {"perplexity_ratio": found.perplexity_ratio}


def _shorten(found: EngineQuality) -> dict[str, Any]:
    return {
        "measured_at": show_time(found.measured_at),
        "engine": found.engine,
        "model": found.model,
        "weights": _show_weights(found),
        "reference": found.reference_engine or found.reference_model,
        "perplexity": f"{found.perplexity:.3f}",
        "ratio": f"{found.perplexity_ratio:.4f}",
        "agreement": f"{found.agreement:.2%}",
        "text": f"{found.text_name}, {found.tokens:,} tokens",
    }


def _show_weights(found: EngineQuality) -> str:
    told = [found.precision or "of unknown precision"]
    told += [f"{found.weight_bytes / 1e6:,.1f} MB"] if found.weight_bytes is not None else []
    told += [f"full precision {found.reference_weight_bytes / 1e6:,.1f} MB"] if found.reference_weight_bytes else []
    return ", ".join(told)


@dataclass(frozen=True, kw_only=True)
class QuantiseOptions:
    """A model, a scheme and where the result goes."""

    model: Annotated[str, typer.Argument(help="Folder or name of the full-precision model.")]
    out: Annotated[Path, typer.Argument(help="Folder for the result.")]
    scheme: Annotated[str, typer.Option(help="W4A16, W8A8, GPTQ, AWQ or FP8.")] = "W4A16"
    text: Annotated[Path | None, typer.Option(help="Text to calibrate on (GPTQ and AWQ need it).")] = None
    samples: Annotated[int, typer.Option(min=1, max=100_000, help="Pieces of it.")] = 128
    length: Annotated[int, typer.Option(min=2, max=100_000, help="Tokens of each.")] = 512
    as_json: AsJson = False


@spread(QuantiseOptions)
def quantise(options: QuantiseOptions) -> None:
    """Quantise a model with llmcompressor in the engine's environment."""
    from rich.console import Console
    from rich.progress import Progress

    from backend.engine.launch import find_python

    if options.out.exists() and any(options.out.iterdir()):
        raise CommandFailed(f"{options.out} is not empty.")
    python = find_python(os.environ)
    if not python.exists():
        raise CommandFailed("The engine's environment is missing. `make engine` makes it.")
    done: dict[str, Any] = {}
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("starting", total=None)
        for line in _run_script(python, options):
            bar.update(task, description=line["stage"], completed=line["done"], total=line["total"])
            done = line if line["stage"] == "done" else done
    if not done:
        raise CommandFailed("Quantising ended without a result.")
    put_json(done) if options.as_json else put(f"{done['out']}: {done['bytes'] / 1e6:,.1f} MB")


def _run_script(python: Path, options: QuantiseOptions) -> Iterator[dict[str, Any]]:
    """The script's lines of progress. Raises ``CommandFailed`` with what it said last when it fails."""
    import tempfile

    from backend.engine.quality import INSIDE

    words = [str(python), str(INSIDE / "quantise.py"), options.model, str(options.out), "--scheme", options.scheme]
    words += ["--samples", str(options.samples), "--length", str(options.length)]
    words += ["--text", str(options.text)] if options.text else []
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        yield from (json.loads(line) for line in process.stdout or () if line.startswith("{"))
        if process.wait():
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip().splitlines()
            raise CommandFailed(said[-1] if said else f"Quantising failed with code {process.returncode}.")


def _progress(name: str) -> Any:
    return lambda done: say(f"{name}: {done:.0%}")
