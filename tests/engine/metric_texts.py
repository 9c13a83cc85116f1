"""Texts of metrics as servers publish them, made from the numbers a test cares about, and a server of one text."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

_LABELS = 'engine="0",model_name="m"'


_COUNTERS = {
    "prompts": "prompt_tokens",
    "generated": "generation_tokens",
    "queries": "prefix_cache_queries",
    "hits": "prefix_cache_hits",
    "drafts": "spec_decode_num_drafts",
    "drafted": "spec_decode_num_draft_tokens",
    "accepted": "spec_decode_num_accepted_tokens",
}


def vllm_text(**told: int) -> str:
    """VLLM's metrics with these counts; ``at_0`` and ``at_1`` are drafts accepted by position.

    ``fast`` and ``slow`` are calls whose first token took up to 100 ms and up to 1 s.
    """
    told = {"prompts": 1_000, "generated": 100, **told}
    fast, every = told.get("fast", 0), told.get("fast", 0) + told.get("slow", 0)
    lines = [
        "# TYPE vllm:num_requests_running gauge",
        f"vllm:num_requests_running{{{_LABELS}}} 3.0",
        "# TYPE vllm:num_requests_waiting gauge",
        f"vllm:num_requests_waiting{{{_LABELS}}} 2.0",
        "# TYPE vllm:kv_cache_usage_perc gauge",
        f"vllm:kv_cache_usage_perc{{{_LABELS}}} 0.25",
        "# TYPE vllm:cache_config_info gauge",
        'vllm:cache_config_info{block_size="16",engine="0",num_gpu_blocks="512"} 1.0',
        *(line for name, metric in _COUNTERS.items() for line in _counter(metric, told.get(name, 0))),
        "# TYPE vllm:spec_decode_num_accepted_tokens_per_pos counter",
        *_positions(told),
        "# TYPE vllm:time_to_first_token_seconds histogram",
        f'vllm:time_to_first_token_seconds_bucket{{{_LABELS},le="0.1"}} {fast}.0',
        f'vllm:time_to_first_token_seconds_bucket{{{_LABELS},le="1.0"}} {every}.0',
        f'vllm:time_to_first_token_seconds_bucket{{{_LABELS},le="+Inf"}} {every}.0',
        f"vllm:time_to_first_token_seconds_count{{{_LABELS}}} {every}.0",
        f"vllm:time_to_first_token_seconds_sum{{{_LABELS}}} 1.0",
    ]
    return "\n".join([*lines, ""])


def _positions(told: dict[str, int]) -> list[str]:
    name = "vllm:spec_decode_num_accepted_tokens_per_pos_total"
    return [f'{name}{{{_LABELS},position="{place}"}} {told.get(f"at_{place}", 0)}.0' for place in (0, 1)]


def _counter(name: str, value: int) -> tuple[str, str]:
    return f"# TYPE vllm:{name} counter", f"vllm:{name}_total{{{_LABELS}}} {value}.0"


VLLM_BEFORE = vllm_text()

SGLANG_TEXT = """\
# TYPE sglang:num_running_reqs gauge
sglang:num_running_reqs{model_name="m"} 4.0
# TYPE sglang:token_usage gauge
sglang:token_usage{model_name="m"} 0.125
# TYPE sglang:generation_tokens_total counter
sglang:generation_tokens_total{model_name="m"} 900.0
"""

TGI_TEXT = """\
# TYPE tgi_batch_current_size gauge
tgi_batch_current_size 2
# TYPE tgi_queue_size gauge
tgi_queue_size 1
# TYPE tgi_request_input_length histogram
tgi_request_input_length_bucket{le="+Inf"} 3
tgi_request_input_length_sum 120
tgi_request_input_length_count 3
"""


@contextmanager
def serve_text(text: str, status: int = 200) -> Iterator[str]:
    """The address of a server that gives this text for any path."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/metrics" else 404)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
