"""The official Python client as a program: one JSON request per line in, one JSON outcome per line out.

It knows only ``openai`` and the standard library, so that any interpreter with any version of the client can run it.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import openai

Asked = dict[str, Any]
Outcome = dict[str, Any]


def speak() -> None:
    """Answer every line of standard input; the first line names the gateway."""
    url = sys.argv[1]
    print(json.dumps({"version": openai.__version__}), flush=True)  # noqa: T201 - the wire of this program
    for line in sys.stdin:
        asked = json.loads(line)
        client = openai.OpenAI(
            base_url=url, api_key=asked.get("key", "none"), max_retries=asked.get("retries", 0), timeout=60.0
        )
        with client:
            print(json.dumps(answer(client, asked)), flush=True)  # noqa: T201 - the wire of this program


def answer(client: openai.OpenAI, asked: Asked) -> Outcome:
    """What the client made of one request."""
    outcome: Outcome = {"value": None, "chunks": [], "headers": {}, "error": None}
    try:
        ACTS[asked["op"]](client, asked, outcome)
    except openai.APIError as error:
        outcome["error"] = describe(error)
    return outcome


def describe(error: openai.APIError) -> Outcome:
    """An error in words that all clients share."""
    response = getattr(error, "response", None)
    return {
        "class": type(error).__name__,
        "status": getattr(error, "status_code", None),
        "message": error.message,
        "type": error.type,
        "param": error.param,
        "code": error.code,
        "body": error.body,
        "headers": dict(response.headers) if response is not None else {},
    }


def resource_of(client: openai.OpenAI, asked: Asked) -> Any:
    """The part of the client that serves an endpoint."""
    return {"chat": client.chat.completions, "completions": client.completions, "embeddings": client.embeddings}[
        asked["path"]
    ]


def arguments_of(asked: Asked) -> dict[str, Any]:
    """Parameters the client knows as arguments, the rest as its extra body."""
    extra = {"extra_body": asked["extra"]} if asked.get("extra") else {}
    return {**asked["params"], **extra, "extra_headers": asked.get("headers") or {}}


def create(client: openai.OpenAI, asked: Asked, outcome: Outcome) -> None:
    """A whole answer."""
    raw = resource_of(client, asked).with_raw_response.create(**arguments_of(asked))
    outcome["headers"] = dict(raw.headers)
    outcome["value"] = raw.parse().to_dict()


def stream(client: openai.OpenAI, asked: Asked, outcome: Outcome) -> None:
    """The chunks of a stream; hangs up after ``take`` of them."""
    raw = resource_of(client, asked).with_raw_response.create(stream=True, **arguments_of(asked))
    outcome["headers"] = dict(raw.headers)
    chunks = raw.parse()
    for chunk in chunks:
        outcome["chunks"].append(chunk.to_dict())
        if len(outcome["chunks"]) == asked.get("take"):
            chunks.close()
            return


def naive(client: openai.OpenAI, asked: Asked, outcome: Outcome) -> None:
    """The loop of every tutorial, which trusts that a chunk has a choice."""
    text = ""
    for chunk in resource_of(client, asked).create(stream=True, **arguments_of(asked)):
        text += chunk.choices[0].delta.content or ""
    outcome["value"] = text


def accumulate(client: openai.OpenAI, asked: Asked, outcome: Outcome) -> None:
    """The client's own way of putting a stream together again."""
    with client.chat.completions.stream(**arguments_of(asked)) as gathered:
        outcome["value"] = gathered.get_final_completion().to_dict()


def list_models(client: openai.OpenAI, asked: Asked, outcome: Outcome) -> None:
    """Every model."""
    outcome["value"] = [model.to_dict() for model in client.models.list()]


def get_model(client: openai.OpenAI, asked: Asked, outcome: Outcome) -> None:
    """One model."""
    outcome["value"] = client.models.retrieve(asked["model"]).to_dict()


def do(client: openai.OpenAI, asked: Asked, outcome: Outcome) -> None:
    """A method by its name: its id first, then its parameters; a file is a name and a text, a page all its items."""
    noun, _, verb = asked["verb"].partition(".")
    params = dict(asked.get("params") or {})
    if "file" in params:
        params["file"] = (params["file"][0], params["file"][1].encode())
    found = getattr(getattr(client, noun), verb)(*([asked["id"]] if "id" in asked else []), **params)
    if verb == "list":
        outcome["value"] = [item.to_dict() for item in found]
    else:
        outcome["value"] = found.text if verb == "content" else found.to_dict()


ACTS = {
    "do": do,
    "create": create,
    "stream": stream,
    "naive": naive,
    "accumulate": accumulate,
    "models": list_models,
    "model": get_model,
}

if __name__ == "__main__":
    speak()
