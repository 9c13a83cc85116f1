"""GPTCache over a stream of questions, run by the Python of its own environment: ``STREAM FOLDER THRESHOLD RESULT``.

Set up as its documentation does (SQLite, Faiss, distance of vectors); the embedder is ours, and nothing is evicted.
The stream is JSON: {"model", "tokenizer", "asked": [[question, answer], …]}. Writes JSON: for each question the answer
served, or null, and the milliseconds of the look-up.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from gptcache import Cache, Config
from gptcache.adapter.api import get, init_similar_cache, put
from gptcache.manager import manager_factory

from backend.cache.semantic.minilm import DIMENSION, Model


class Adapter:
    """Our embedder as GPTCache calls one."""

    dimension = DIMENSION

    def __init__(self, model: Model) -> None:
        self._model = model

    def to_embeddings(self, data: str, **_: object) -> Any:
        """The vector of a text."""
        return self._model.embed(data).vector


def open_cache(embedder: Adapter, folder: str, threshold: float) -> Cache:
    """An empty cache."""
    opened = Cache()
    vectors = {"dimension": embedder.dimension}
    room = {"max_size": 10**6}
    kept = manager_factory("sqlite,faiss", data_dir=folder, vector_params=vectors, eviction_params=room)
    config = Config(similarity_threshold=threshold)
    init_similar_cache(folder, opened, embedding=embedder, data_manager=kept, config=config)
    return opened


def main() -> None:
    stream, folder, threshold = json.loads(Path(sys.argv[1]).read_text()), sys.argv[2], float(sys.argv[3])
    embedder = Adapter(Model(Path(stream["model"]), Path(stream["tokenizer"])))
    opened = open_cache(embedder, folder, threshold)
    outcomes = []
    for question, answer in stream["asked"]:
        began = time.perf_counter()
        served = get(question, cache_obj=opened)
        outcomes.append((served, (time.perf_counter() - began) * 1000.0))
        if served is None:
            put(question, answer, cache_obj=opened)
    Path(sys.argv[4]).write_text(json.dumps(outcomes))


if __name__ == "__main__":
    main()
