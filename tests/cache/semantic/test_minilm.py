"""The built-in embedder says what the published weights say, and its file is whole or built anew."""

from __future__ import annotations

import asyncio
import multiprocessing
import shutil
from pathlib import Path

import numpy as np
import pytest

from backend.cache.semantic import minilm
from backend.cache.semantic.embedding import EmbedderUnavailable, Embedding, identify
from backend.cache.semantic.minilm import COSINES, NAME, REFERENCES, BuiltIn, Model, load
from backend.cache.semantic.minilm_graph import Weights, read_weights
from tests.cache.semantic import plain_minilm

FILE = f"{NAME}.onnx"
QUESTIONS = [
    "How do I reset my password?",
    "I forgot my password, how can I get a new one?",
    "¿Cómo puedo cambiar mi contraseña?",
    "What is the refund policy for orders above 100 € placed before 2026-01-31?",
    "The quick brown fox jumps over the lazy dog. " * 8,
]
ODDITIES = ["x", "def f(n):\n    return f(n - 1) + f(n - 2) if n > 1 else n"]
TEXTS = [*QUESTIONS, *ODDITIES]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the model, built once."""
    folder = tmp_path_factory.mktemp("models")
    load(folder)
    return folder


@pytest.fixture(scope="session")
def model(built: Path) -> Model:
    return load(built)


@pytest.fixture(scope="session")
def weights() -> Weights:
    return read_weights(minilm.find_package_file("model.safetensors"))


def plain(weights: Weights, model: Model, text: str) -> np.ndarray:
    return plain_minilm.embed(weights, model.tokenise(text))


@pytest.mark.parametrize("text", TEXTS)
def test_a_vector_is_that_of_the_float32_weights(text: str, weights: Weights, model: Model) -> None:
    found = model.embed(text)
    assert found.vector @ plain(weights, model, text) >= (0.99 if text in QUESTIONS else 0.97)
    assert np.linalg.norm(found.vector) == pytest.approx(1, abs=1e-5)
    assert found.vector.dtype == np.float32
    assert found.of == identify(text)


@pytest.mark.parametrize("text", TEXTS)
def test_token_vectors_are_the_hidden_states_of_the_pieces(text: str, weights: Weights, model: Model) -> None:
    found = model.embed(text)
    encoding = model._split(text)
    expected = plain_minilm.unit(plain_minilm.encode(weights, encoding.ids)[1:-1][:64])
    assert found.tokens is not None
    assert found.pieces == tuple(encoding.tokens[1:-1][:64])
    assert found.tokens.shape == (len(found.pieces), 384)
    assert (found.tokens * expected).sum(axis=1).mean() >= 0.97


async def test_a_text_has_the_same_vector_alone_and_in_company(model: Model) -> None:
    embedder = BuiltIn(model)
    found = await embedder.embed(TEXTS)
    await embedder.close()
    assert [each.of for each in found] == [identify(text) for text in TEXTS]
    assert all((each.vector == model.embed(text).vector).all() for text, each in zip(TEXTS, found, strict=True))


def test_the_references_are_what_float32_gives(weights: Weights, model: Model) -> None:
    vectors = np.stack([plain(weights, model, reference.text) for reference in REFERENCES])
    begins = np.array([reference.begins for reference in REFERENCES])
    assert np.abs(vectors[:, : begins.shape[1]] - begins).max() < 1e-4
    assert np.abs((vectors @ vectors.T)[np.triu_indices(len(vectors), 1)] - np.array(COSINES)).max() < 1e-4


def test_an_empty_text_has_a_vector_and_no_pieces(model: Model) -> None:
    found = model.embed("")
    assert found.tokens is not None
    assert (found.tokens.shape, found.pieces) == ((0, 384), ())
    assert np.isfinite(found.vector).all()


def test_a_long_text_is_cut(model: Model) -> None:
    long, longer = model.embed("why " * 2_000), model.embed("why " * 100_000)
    assert len(long.pieces) == 64
    assert (long.vector == longer.vector).all()


async def test_inference_leaves_the_event_loop_free(built: Path) -> None:
    embedder = await minilm.open_built_in(built)
    asking = asyncio.ensure_future(embedder.embed(["why " * 2_000] * 4))
    turns = 0
    while not asking.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 2
    assert len(await asking) == 4
    await embedder.close()


async def test_a_closed_embedder_is_unavailable(model: Model) -> None:
    embedder = BuiltIn(model)
    await embedder.close()
    with pytest.raises(EmbedderUnavailable):
        await embedder.embed(["a"])


def test_a_file_that_stands_is_not_built_again(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minilm, "_build", lambda *_: pytest.fail("built again"))
    load(built)


def damage_bytes(path: Path) -> None:
    """What a worn disk does: the file is as long as it was."""
    raw = bytearray(path.read_bytes())
    for place in range(len(raw) - 8_000_000, len(raw), 7):
        raw[place] ^= 0x55
    path.write_bytes(raw)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:1_000_000]),
        lambda path: path.write_bytes(b"not a model"),
        damage_bytes,
    ],
    ids=["empty", "cut", "foreign", "worn"],
)
def test_a_damaged_file_is_built_anew(
    damage: object, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / FILE
    shutil.copy(built / FILE, path)
    damage(path)  # type: ignore[operator]
    builds: list[Path] = []

    def build(weights: Path, target: Path) -> None:
        builds.append(target)
        shutil.copy(built / FILE, target)

    monkeypatch.setattr(minilm, "_build", build)
    load(tmp_path).embed("works")
    assert builds == [path]
    assert path.read_bytes() == (built / FILE).read_bytes()


def test_a_model_that_gives_other_vectors_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minilm, "_build", lambda _, target: target.write_bytes(b"nonsense"))
    with pytest.raises(EmbedderUnavailable, match="known vectors"):
        load(tmp_path)


def test_vectors_that_are_off_are_not_known(model: Model) -> None:
    right = [model.embed(reference.text) for reference in REFERENCES]
    assert minilm.is_known(right)
    assert not minilm.is_known(right[::-1])
    assert not minilm.is_known([Embedding(each.vector * np.nan, None, ()) for each in right])


def test_a_builder_that_dies_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = minilm.find_package_file("tokenizer.json")
    monkeypatch.setattr(minilm, "find_package_file", lambda _: tokenizer)  # no weights to be found in it
    (tmp_path / f"{NAME}.1.tmp").write_bytes(b"of a builder that was killed")
    with pytest.raises(EmbedderUnavailable, match="not built"):
        load(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f"{NAME}.lock"]


def test_a_folder_that_cannot_be_written_leaves_the_embedder_unavailable(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file where the folder should be")
    with pytest.raises(EmbedderUnavailable, match="not built"):
        load(tmp_path / "models")


def test_without_the_package_the_embedder_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minilm, "_PACKAGE", "no-such-package")
    with pytest.raises(EmbedderUnavailable, match="not installed"):
        load(tmp_path)


def test_of_two_processes_that_start_at_once_one_builds(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        found = pool.map(build_and_embed, [tmp_path, tmp_path], chunksize=1)
    assert sum(builds for builds, _ in found) == 1
    assert (found[0][1] == found[1][1]).all()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{NAME}.lock", FILE]


def build_and_embed(folder: Path) -> tuple[int, np.ndarray]:
    """Run in a process of its own: how often it built, and a vector."""
    builds = 0
    build = minilm._build

    def count(weights: Path, path: Path) -> None:
        nonlocal builds
        builds += 1
        build(weights, path)

    minilm._build = count
    vector = load(folder).embed("one question").vector
    return builds, vector
