"""what is asked and what an honest upstream answers: text, usage and embeddings decided by the seed alone."""

import json
import random
import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

WORDS = ("time", "year", "people", "way", "day", "man", "thing", "life", "child", "world", "school", "state", "hand")
MARKER = re.compile(r"call-marker:([0-9a-fA-F-]{36})")
DONE = b"data: [DONE]\n\n"
ENCODER = json.JSONEncoder(separators=(",", ":"))
CREATED = 1_700_000_000
OBJECTS = {"chat": "chat.completion", "text": "text_completion"}


class Event(NamedTuple):
    """One server-sent event: its bytes, the text it shows and whether it states the usage."""

    raw: bytes
    text: str = ""
    usage: dict[str, Any] | None = None


@dataclass(frozen=True)
class Asked:
    """A request body reduced to what the script needs.

    `behaviour`, `args` and `seed` come from the model name `fake/<behaviour>[:arg...][@seed]`.
    """

    endpoint: str
    model: str
    stream: bool
    include_usage: bool
    prompt: str
    behaviour: str
    args: tuple[str, ...]
    seed: str
    body: dict[str, Any] = field(default_factory=dict)

    @property
    def marker(self) -> str | None:
        """The client's marker, taken from the prompt text."""
        found = MARKER.search(self.prompt)
        return found.group(1) if found else None

    def number(self, position: int, default: float) -> float:
        """Argument `position` of the behaviour as a number."""
        return float(self.args[position]) if len(self.args) > position and self.args[position] else default

    def word(self, position: int, default: str) -> str:
        """Argument `position` of the behaviour as text."""
        return self.args[position] if len(self.args) > position else default


def read_ask(endpoint: str, body: bytes) -> Asked:
    """Parse a body leniently (NUL, lone surrogates, 1e999): what the gateway lets through is not judged here."""
    ask = json.loads(body)
    model = str(ask.get("model", ""))
    name, _, seed = model.removeprefix("fake/").partition("@")
    behaviour, *args = name.split(":")
    options = ask.get("stream_options") or {}
    return Asked(
        endpoint=endpoint,
        model=model,
        stream=bool(ask.get("stream")),
        include_usage=bool(options.get("include_usage")),
        prompt=_prompt_text(ask),
        behaviour=behaviour,
        args=tuple(args),
        seed=seed or "0",
        body=ask,
    )


def _prompt_text(ask: dict[str, Any]) -> str:
    parts = [message.get("content") for message in ask.get("messages", [])] + [ask.get("prompt"), ask.get("input")]
    return "\n".join(text if isinstance(text, str) else json.dumps(text) for text in parts if text is not None)


@dataclass
class Answer:
    """An honest answer to `asked`; behaviours bend it. One word is one token, one event shows one word."""

    asked: Asked
    id: str
    words: list[str] = field(default_factory=list)
    usage: dict[str, Any] = field(default_factory=dict)
    finish_reason: str = "stop"

    def __post_init__(self) -> None:
        dice = random.Random(self.asked.seed)
        if not self.words and self.asked.endpoint != "embeddings":
            self.words = [dice.choice(WORDS) + " " for _ in range(dice.randrange(3, 12))]
        self.usage = self.usage or usage_of(self.prompt_tokens, len(self.words))

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt as this upstream counts them: one per started four characters."""
        return len(self.asked.prompt) // 4 + 1

    @property
    def content(self) -> str:
        """The whole text."""
        return "".join(self.words)

    def body(self) -> dict[str, Any]:
        """The answer in one JSON object."""
        if self.asked.endpoint == "embeddings":
            return self._embedding()
        choice: dict[str, Any] = {"index": 0, "finish_reason": self.finish_reason, "logprobs": None}
        if self.asked.endpoint == "chat":
            choice["message"] = {"role": "assistant", "content": self.content}
        else:
            choice["text"] = self.content
        return self._frame(OBJECTS[self.asked.endpoint], [choice]) | {"usage": self.usage}

    def events(self) -> list[Event]:
        """The answer as server-sent events, `[DONE]` last; usage only if it was asked for."""
        events = [self.event({"role": "assistant", "content": ""})] if self.asked.endpoint == "chat" else []
        events += [self.event({"content": word}, text=word) for word in self.words]
        events.append(self.event({}, finish_reason=self.finish_reason))
        if self.asked.include_usage:
            events.append(self.usage_event(self.usage))
        return [*events, Event(DONE)]

    def event(self, delta: dict[str, Any], text: str = "", finish_reason: str | None = None) -> Event:
        """One chunk with a chat delta, or its text in the older completions shape."""
        choice: dict[str, Any] = {"index": 0, "finish_reason": finish_reason, "logprobs": None}
        choice |= {"delta": delta} if self.asked.endpoint == "chat" else {"text": text}
        return Event(sse(self.chunk([choice])), text)

    def usage_event(self, usage: dict[str, Any]) -> Event:
        """The extra chunk with empty choices that states the usage."""
        return Event(sse(self.chunk([]) | {"usage": usage}), usage=usage)

    def chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        """A chunk object around `choices`."""
        return self._frame("chat.completion.chunk" if self.asked.endpoint == "chat" else "text_completion", choices)

    def _frame(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": CREATED,
            "model": self.asked.model,
            "system_fingerprint": "fp_fake",
            "choices": choices,
        }

    def _embedding(self) -> dict[str, Any]:
        dice = random.Random(self.asked.prompt)
        vector = [round(dice.uniform(-1, 1), 6) for _ in range(8)]
        data = [{"object": "embedding", "index": 0, "embedding": vector}]
        usage = {"prompt_tokens": self.prompt_tokens, "total_tokens": self.prompt_tokens}
        self.usage = usage
        return {"object": "list", "data": data, "model": self.asked.model, "usage": usage}


def usage_of(prompt_tokens: int, completion_tokens: int) -> dict[str, Any]:
    """A usage object in OpenAI's shape."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def sse(chunk: dict[str, Any]) -> bytes:
    """A server-sent event carrying `chunk`."""
    return b"data: " + ENCODER.encode(chunk).encode() + b"\n\n"
