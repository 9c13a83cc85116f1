"""What a smaller model costs in quality: perplexity and agreement with the full-precision model on the same text.

A served engine is asked for the log-probabilities of a prompt, so that the kernel that serves is the one judged; a
model that is not served is scored by transformers in the engine's environment.
"""

from __future__ import annotations

import http.client
import json
import math
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson

from backend.engine.health import Place

INSIDE = Path(__file__).with_name("inside")
PATIENCE_S = 600.0
ROWS_AT_ONCE = 8
Row = Sequence[int]
"""Token numbers."""


class Unscored(Exception):
    """A model could not be asked; the message says what it said."""


@dataclass(frozen=True, slots=True)
class Scores:
    """For every row, from its second token on: the log-probability of the token, and the likeliest token there."""

    logprobs: tuple[tuple[float, ...], ...]
    tops: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Quality:
    """One model beside the reference on the same tokens."""

    tokens: int
    perplexity: float
    reference_perplexity: float
    agreement: float
    """Share of positions at which both think the same token likeliest."""
    mean_difference: float
    """Mean absolute difference of the tokens' log-probabilities, in nats."""

    @property
    def perplexity_ratio(self) -> float:
        """How many times as perplexed as the reference: 1 is no loss."""
        return self.perplexity / self.reference_perplexity


def tokenise(place: Place, text: str) -> list[int]:
    """The text as token numbers of a served model (vLLM's ``/tokenize``). Raises ``Unscored``."""
    root = place.url.rstrip("/").removesuffix("/v1")
    found = _post(f"{root}/tokenize", place, {"model": place.model, "prompt": text, "add_special_tokens": False})
    return [int(token) for token in found["tokens"]]


def cut_rows(tokens: Row, length: int, most: int) -> list[list[int]]:
    """At most so many rows of at most so many tokens, spread over the text. Raises ``ValueError`` without any."""
    pieces = [list(tokens[start : start + length]) for start in range(0, len(tokens), length)]
    pieces = [piece for piece in pieces if len(piece) > 1]
    if not pieces:
        raise ValueError("the text is too short: two tokens at least")
    step = max(len(pieces) // most, 1)
    return pieces[::step][:most]


def score_served(place: Place, rows: Sequence[Row], report: Callable[[float], None] = lambda _: None) -> Scores:
    """Ask a served engine (vLLM) what it thinks of the rows. Raises ``Unscored``."""
    logprobs, tops = [], []
    for start in range(0, len(rows), ROWS_AT_ONCE):
        part = [list(row) for row in rows[start : start + ROWS_AT_ONCE]]
        body = {"model": place.model, "prompt": part, "max_tokens": 1, "temperature": 0, "prompt_logprobs": 1}
        found = _post(f"{place.url}/completions", place, body)
        for choice, row in zip(sorted(found["choices"], key=lambda each: each["index"]), part, strict=True):
            read = list(_read_positions(choice.get("prompt_logprobs"), row))
            logprobs.append(tuple(each[0] for each in read))
            tops.append(tuple(each[1] for each in read))
        report(min((start + ROWS_AT_ONCE) / len(rows), 1.0))
    return Scores(tuple(logprobs), tuple(tops))


def score_unserved(model: str, rows: Sequence[Row], python: Path) -> Scores:
    """Score the rows with transformers, by the engine's Python. Raises ``Unscored``."""
    with tempfile.TemporaryDirectory(prefix="governor-rows-") as folder:
        path = Path(folder) / "rows.json"
        path.write_text(json.dumps([list(row) for row in rows]))
        command = [str(python), str(INSIDE / "perplexity.py"), model, str(path)]
        try:
            done = subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE_S * 6)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unscored(f"{model} could not be scored ({type(error).__name__})") from None
    if done.returncode:
        raise Unscored(f"{model} could not be scored: {done.stderr.decode(errors='replace')[-400:]}")
    found = orjson.loads(done.stdout.splitlines()[-1])
    return Scores(tuple(map(tuple, found["logprobs"])), tuple(map(tuple, found["tops"])))


def compare_scores(reference: Scores, other: Scores) -> Quality:
    """The other model beside the reference. Raises ``ValueError`` when they did not score the same tokens."""
    if [len(row) for row in reference.logprobs] != [len(row) for row in other.logprobs]:
        raise ValueError("the two models did not score the same tokens")
    pairs = [
        (first, second)
        for one, two in zip(reference.logprobs, other.logprobs, strict=True)
        for first, second in zip(one, two, strict=True)
    ]
    same = [
        first == second
        for one, two in zip(reference.tops, other.tops, strict=True)
        for first, second in zip(one, two, strict=True)
    ]
    return Quality(
        tokens=len(pairs),
        perplexity=perplexity_of([second for _, second in pairs]),
        reference_perplexity=perplexity_of([first for first, _ in pairs]),
        agreement=sum(same) / len(same),
        mean_difference=sum(abs(first - second) for first, second in pairs) / len(pairs),
    )


def perplexity_of(logprobs: Sequence[float]) -> float:
    """E to the mean surprise of a token."""
    return math.exp(-sum(logprobs) / len(logprobs))


def _read_positions(positions: Any, row: Row) -> Iterator[tuple[float, int]]:
    if not isinstance(positions, list) or len(positions) != len(row):
        raise Unscored("the engine gives no log-probabilities of a prompt")
    for token, found in zip(row[1:], positions[1:], strict=True):
        best = min(found, key=lambda each: found[each]["rank"])
        yield float(found[str(token)]["logprob"]), int(best)


def _post(url: str, place: Place, body: dict[str, Any]) -> dict[str, Any]:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=PATIENCE_S)
    try:
        connection.request("POST", parts.path, orjson.dumps(body), place.headers)
        response = connection.getresponse()
        raw = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise Unscored(f"{parts.netloc} does not answer ({type(error).__name__})") from None
    finally:
        connection.close()
    if response.status != 200:
        raise Unscored(f"{parts.netloc} answered {response.status}: {raw[:300].decode(errors='replace')}")
    found: dict[str, Any] = orjson.loads(raw)
    return found
