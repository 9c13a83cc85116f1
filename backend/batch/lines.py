"""The lines of an input file: one request each, or what is wrong with it in OpenAI's words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import orjson

from backend.errors import Unpriced
from db.job_lines import LineRow

ENDPOINTS = {
    "/v1/chat/completions": "chat.completions",
    "/v1/completions": "completions",
    "/v1/embeddings": "embeddings",
}
"""What a job may ask for, and the gateway's own name of it."""

MOST_PROBLEMS = 100
_LONGEST_ID = 512


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a file; ``line`` counts from 1, None for the file as a whole."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


@dataclass(slots=True)
class Reading:
    """What a file came to: its lines when there are no problems."""

    lines: list[LineRow] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    models: set[str] = field(default_factory=set)

    @property
    def model(self) -> str | None:
        """The model all lines ask for, if it is one."""
        return next(iter(self.models)) if len(self.models) == 1 else None

    def errors(self) -> bytes:
        """The problems as a batch object shows them."""
        return show_problems(self.problems)


@dataclass(frozen=True, slots=True)
class Rules:
    """What lines must agree with: the job's endpoint, how many may be, and which models somebody answers to."""

    endpoint: str
    max_lines: int
    is_served: Callable[[str], bool] = lambda _: True
    bound: Callable[[bytes], int | None] | None = None
    """The most a request can cost, None without a limit of tokens; raises ``Unpriced``. None: nobody has to know."""


class _Wrong(Exception):
    """A line is no request: code, message, parameter."""


def show_problems(problems: Sequence[Problem]) -> bytes:
    """Problems as a batch object shows them."""
    return orjson.dumps({"object": "list", "data": [asdict(problem) for problem in problems]})


def read_lines(content: bytes, rules: Rules) -> Reading:
    """Read a whole file. Blank lines are passed over; reading ends after a hundred problems."""
    reading, seen = Reading(), set[str]()
    for number, raw in _split(content):
        if len(reading.lines) >= rules.max_lines:
            text = f"The batch input file contains more than {rules.max_lines} requests."
            reading.problems.append(Problem("too_many_tasks", text))
            return reading
        if len(reading.problems) >= MOST_PROBLEMS:
            return reading
        try:
            line, model = _read_line(number, raw, rules.endpoint, seen)
            _note_model(reading, model, rules)
            reading.lines.append(_with_bound(line, model, rules))
        except _Wrong as wrong:
            code, message, param = wrong.args
            reading.problems.append(Problem(code, message, number, param))
    if not reading.lines and not reading.problems:
        text = "The batch input file is empty. Please ensure the batch contains at least one request."
        reading.problems.append(Problem("empty_file", text))
    return reading


def _split(content: bytes) -> Iterator[tuple[int, bytes]]:
    begin, number = 3 if content.startswith(b"\xef\xbb\xbf") else 0, 0
    while begin < len(content):
        end = content.find(b"\n", begin)
        end = len(content) if end < 0 else end
        number += 1
        if raw := content[begin:end].strip():
            yield number, raw
        begin = end + 1


def _note_model(reading: Reading, model: str, rules: Rules) -> None:
    if model not in reading.models and not rules.is_served(model):
        raise _Wrong("model_not_found", f"The provided model {model!r} is not served by this gateway.", "body.model")
    reading.models.add(model)


def _with_bound(line: LineRow, model: str, rules: Rules) -> LineRow:
    if rules.bound is None:
        return line
    try:
        return replace(line, bound_nusd=rules.bound(line.body))
    except Unpriced:
        text = f"What the model {model!r} costs is not known, so a batch of it cannot keep to a budget."
        raise _Wrong("unknown_cost", text, "body.model") from None


def _read_line(number: int, raw: bytes, endpoint: str, seen: set[str]) -> tuple[LineRow, str]:
    try:
        asked = orjson.loads(raw)
    except ValueError:
        raise _Wrong("invalid_json_line", "This line is not parseable as valid JSON.", None) from None
    if not isinstance(asked, dict):
        raise _Wrong("invalid_json_line", "Each line must be a JSON object.", None)
    custom_id = _read_custom_id(asked, seen)
    if _require(asked, "method") != "POST":
        raise _Wrong("invalid_method", "Invalid value for method: only POST is supported.", "method")
    if _require(asked, "url") != endpoint:
        text = f"The URL provided for this request does not match the batch endpoint {endpoint}."
        raise _Wrong("invalid_url", text, "url")
    body = _require(asked, "body")
    return LineRow(number, custom_id, _write_body(body)), _read_model(body)


def _write_body(body: Any) -> bytes:
    try:
        return orjson.dumps(body)
    except (ValueError, TypeError):  # what can be read may be nested deeper than what can be written
        raise _Wrong("invalid_value", "body is nested too deeply.", "body") from None


def _read_custom_id(asked: dict[str, Any], seen: set[str]) -> str:
    custom_id = _require(asked, "custom_id")
    if not isinstance(custom_id, str) or not 0 < len(custom_id) <= _LONGEST_ID or "\0" in custom_id:
        text = f"custom_id must be a string of 1 to {_LONGEST_ID} characters."
        raise _Wrong("invalid_value", text, "custom_id")
    if custom_id in seen:
        text = f"The custom_id {custom_id!r} is used by another request; each must be unique within a batch."
        raise _Wrong("duplicate_custom_id", text, "custom_id")
    seen.add(custom_id)
    return custom_id


def _read_model(body: Any) -> str:
    if not isinstance(body, dict):
        raise _Wrong("invalid_value", "body must be a JSON object.", "body")
    if body.get("stream"):
        raise _Wrong("invalid_value", "Streaming is not supported in a batch.", "body.stream")
    model = body.get("model")
    if isinstance(model, str) and "\0" in model:
        raise _Wrong("invalid_value", "body.model must not hold the character U+0000.", "body.model")
    if not isinstance(model, str) or not model:
        raise _Wrong("missing_required_parameter", "Missing required parameter: 'body.model'.", "body.model")
    return model


def _require(asked: dict[str, Any], name: str) -> Any:
    if asked.get(name) is None:
        raise _Wrong("missing_required_parameter", f"Missing required parameter: {name!r}.", name)
    return asked[name]
