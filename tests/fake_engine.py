"""A fake vLLM: a real HTTP server process that takes vLLM's arguments, with a child as its engine core.

The model's name says how it behaves: fake/ok, fake/slow, fake/never-ready, fake/oom-exit. While it runs,
``POST /fake/MODE`` changes that: ok, wedge, busy, garbage, fail, slow, die-child.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

TOKEN_S = {"slow": 0.2}
METRICS = """\
vllm:num_requests_running{{engine="0"}} {running}
vllm:num_requests_waiting{{engine="0"}} {waiting}
vllm:kv_cache_usage_perc{{engine="0"}} 0.25
vllm:prompt_tokens_total{{engine="0"}} {prompt}
vllm:generation_tokens_total{{engine="0"}} {generated}
vllm:request_success_total{{engine="0"}} {finished}
"""


class Fake:
    """What one fake engine counts and how it behaves."""

    def __init__(self, options: dict[str, str], mode: str) -> None:
        self.options = options
        self.mode = mode
        self.released = threading.Event()
        self.counts = {"running": 0, "waiting": 0, "prompt": 0, "generated": 0, "finished": 0}
        self.core = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
        threading.Thread(target=self._follow_core, daemon=True).start()
        threading.Thread(target=self._stay_busy, daemon=True).start()

    def _follow_core(self) -> None:
        """As vLLM: without its core the server ends."""
        self.core.wait()
        sys.stderr.write("EngineDeadError: the engine core ended\n")
        sys.stderr.flush()
        hard_exit(1)

    def _stay_busy(self) -> None:
        while True:
            time.sleep(0.02)
            if self.mode == "busy":
                self.counts["generated"] += 1

    def become(self, mode: str) -> None:
        if mode == "die-child":
            self.core.kill()
            return
        self.mode = mode
        if mode not in {"wedge", "busy"}:
            self.released.set()
            self.released = threading.Event()


def hard_exit(code: int) -> None:
    import os

    os._exit(code)


class Exchange(BaseHTTPRequestHandler):
    """One exchange with a client."""

    protocol_version = "HTTP/1.1"
    fake: ClassVar[Fake]

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - as the library names it
        """Says nothing."""

    def do_GET(self) -> None:
        if self.path == "/metrics":
            self._answer(200, METRICS.format(**self.fake.counts).encode(), "text/plain")
        elif self.path == "/fake/options":
            self._answer_json(self.fake.options)
        else:
            self._answer_json({"data": [{"id": self.fake.options["served-model-name"]}]})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.startswith("/fake/"):
            self._answer_json({"mode": self.path.removeprefix("/fake/")})
            self.fake.become(self.path.removeprefix("/fake/"))
            return
        asked = json.loads(body)
        if asked.get("model") != self.fake.options["served-model-name"]:
            self._answer(404, b"{}")
        elif self.fake.mode == "garbage":
            self._answer(200, b"<html>proxy</html>", "text/html")
        elif self.fake.mode in {"fail", "never-ready"}:
            self._answer(503, b'{"error": "not ready"}')
        else:
            self._generate(asked)

    def _generate(self, asked: dict[str, Any]) -> None:
        counts = self.fake.counts
        if self.fake.mode in {"wedge", "busy"}:
            counts["waiting"] += 1
            self.fake.released.wait()
            counts["waiting"] -= 1
        counts["running"] += 1
        try:
            self._stream(asked) if asked.get("stream") else self._whole(asked)
        finally:
            counts["running"] -= 1
        counts["finished"] += 1

    def _tokens(self, asked: dict[str, Any]) -> int:
        return min(int(asked.get("max_tokens") or asked.get("max_completion_tokens") or 8), 64)

    def _pace(self) -> None:
        time.sleep(TOKEN_S.get(self.fake.mode, 0.001))
        self.fake.counts["generated"] += 1

    def _whole(self, asked: dict[str, Any]) -> None:
        tokens = self._tokens(asked)
        for _ in range(tokens):
            self._pace()
        self.fake.counts["prompt"] += 1
        text = "word " * tokens
        chat = self.path.endswith("/chat/completions")
        said = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        choice = {"index": 0, "finish_reason": "length", "logprobs": None, **said}
        self._answer_json({**frame(asked, chat), "choices": [choice], "usage": usage(tokens)})

    def _stream(self, asked: dict[str, Any]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        chat = self.path.endswith("/chat/completions")
        tokens = self._tokens(asked)
        for number in range(tokens):
            self._pace()
            said = {"delta": {"content": "word "}} if chat else {"text": "word "}
            finish = "length" if number == tokens - 1 else None
            self._event({**frame(asked, chat, ".chunk"), "choices": [{"index": 0, "finish_reason": finish, **said}]})
        if (asked.get("stream_options") or {}).get("include_usage"):
            self._event({**frame(asked, chat, ".chunk"), "choices": [], "usage": usage(tokens)})
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def _event(self, event: dict[str, Any]) -> None:
        self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")
        self.wfile.flush()

    def _answer_json(self, value: Any) -> None:
        self._answer(200, json.dumps(value).encode())

    def _answer(self, status: int, body: bytes, content_type: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def frame(asked: dict[str, Any], chat: bool, part: str = "") -> dict[str, Any]:
    kind = f"chat.completion{part}" if chat else "text_completion"
    return {"id": "fake-1", "object": kind, "created": 1, "model": asked["model"]}


def usage(tokens: int) -> dict[str, int]:
    return {"prompt_tokens": 5, "completion_tokens": tokens, "total_tokens": 5 + tokens}


def read_options(arguments: list[str]) -> dict[str, str]:
    """Options by name; what stands alone is "yes"."""
    options: dict[str, str] = {}
    name = ""
    for each in arguments:
        if each.startswith("--"):
            name, _, value = each[2:].partition("=")
            options[name] = value or "yes"
        else:
            options[name] = each
    return options


def main(arguments: list[str]) -> None:
    model, *rest = arguments[arguments.index("serve") + 1 :]
    mode = model.partition("/")[2]
    if mode == "oom-exit":
        sys.stderr.write("torch.OutOfMemoryError: CUDA out of memory\n")
        sys.exit(1)
    options = read_options(rest) | {"model": model}
    sys.stderr.write(f"fake vLLM serves {model}\n")
    Exchange.fake = Fake(options, mode)
    server = ThreadingHTTPServer((options["host"], int(options["port"])), Exchange)
    server.daemon_threads = True
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
