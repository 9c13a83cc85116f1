"""Judging engines from the command line: compared on a text, kept, listed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import pytest

from backend.engine.launch import PYTHON_VARIABLE
from db.engine import connect, writing
from db.engines import Wish, write_state, write_wish
from tests.cli.conftest import Governor
from tests.engine.known_models import KNOWN
from tests.engine.scoring import scoring

WHY = ("--reason", "a test")


@pytest.fixture
def both(ready: Governor) -> Iterator[Governor]:
    """The command, with a full-precision engine and one that is twice as perplexed and guesses otherwise."""
    with scoring() as chat, scoring(faces=8, best=6) as small:
        for name, place in (("chat", chat), ("small", small)):
            assert ready("engine", "add", name, "--model", f"m-{name}", "--url", place.url, *WHY).code == 0
        yield ready


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "novel.txt"
    path.write_text("a tale of two engines " * 4)
    return path


def test_a_comparison_is_told_kept_and_listed(both: Governor, text: Path) -> None:
    said = both("engine", "quality", "small", "--reference", "chat", "--text", str(text))
    assert said.code == 0, said.err
    assert "perplexity   8.000, full precision 4.000" in said.out
    assert "agreement    0.00% of 87 tokens" in said.out
    assert "Kept as the quality of small; `governor engine qualities` lists what was measured." in said.err
    [kept] = both("engine", "qualities", "--json").lines
    assert (kept["engine"], kept["model"], kept["reference_engine"]) == ("small", "m-small", "chat")
    assert (kept["text_name"], kept["tokens"], kept["weight_bytes"]) == ("novel.txt", 87, None)
    assert kept["perplexity_ratio"] == pytest.approx(2)
    table = both("engine", "qualities", "small").out
    assert "2.0000" in table
    assert "novel.txt, 87 tokens" in table
    assert both("engine", "qualities", "chat", "--json").lines == []


def test_what_is_printed_as_json_is_what_is_kept(both: Governor, text: Path) -> None:
    said = both("engine", "quality", "chat", "--reference", "chat", "--text", str(text), "--json")
    assert said.code == 0, said.err
    assert said.lines == both("engine", "qualities", "--json").lines
    assert (said.lines[0]["agreement"], said.lines[0]["mean_difference"]) == (1.0, 0.0)


def test_the_reference_can_be_a_folder_whose_weights_are_counted(
    both: Governor, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "llama"
    folder.mkdir()
    (folder / "config.json").write_bytes(orjson.dumps({**KNOWN["Llama-3.1-8B"][1], "dtype": "bfloat16"}))
    scores = orjson.dumps({"logprobs": [[-1.0] * 86], "tops": [[6] * 86]}).decode()
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho '{scores}'\n")
    python.chmod(0o755)
    monkeypatch.setenv(PYTHON_VARIABLE, str(python))
    options = ("--reference", str(folder), "--text", str(text), "--rows", "1", "--length", "87")
    said = both("engine", "quality", "small", *options)
    assert said.code == 0, said.err
    assert "weights      of unknown precision, full precision 16,060.5 MB" in said.out
    [kept] = both("engine", "qualities", "--json").lines
    assert (kept["reference_engine"], kept["reference_model"]) == (None, str(folder))
    assert (kept["reference_precision"], kept["agreement"]) == ("bf16", 1.0)


def test_what_runs_is_judged_and_not_what_is_staged(both: Governor, text: Path, data_dir: Path) -> None:
    assert both("engine", "add", "local", "--model", "before", *WHY).code == 0
    engine = connect(f"sqlite:///{data_dir / 'governor.db'}")
    with scoring() as place:
        launched = orjson.dumps({"name": "local", "model": "before"}).decode()
        with writing(engine) as connection:
            write_wish(connection, Wish("local", "running", "", "ann", "a test", 1))
            write_state(connection, "local", state="ready", launched=launched, port=urlsplit(place.url).port)
        assert both("engine", "change", "local", "--set", "model=after", *WHY).code == 0
        said = both("engine", "quality", "local", "--reference", "chat", "--text", str(text), "--json")
    engine.dispose()
    assert said.code == 0, said.err
    assert said.lines[0]["model"] == "before"


def test_what_could_not_be_compared_is_not_kept(both: Governor, text: Path, tmp_path: Path) -> None:
    missing = both("engine", "quality", "small", "--reference", "chat", "--text", str(tmp_path / "none"))
    assert (missing.code, "cannot be read" in missing.err) == (1, True)
    nobody = both("engine", "quality", "small", "--reference", "nobody", "--text", str(text))
    assert (nobody.code, "There is no engine nobody" in nobody.err) == (1, True)
    assert both("engine", "qualities", "--json").lines == []
