from __future__ import annotations

from pathlib import Path

import pytest

from backend.engine.last_words import find_last_words

PREFIX = "(EngineCore pid=12) ERROR 11-21 06:43:08 [core.py:133] "


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], ""),
        (["INFO all is well"], ""),
        (
            [PREFIX + "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", "INFO bye"],
            "torch.OutOfMemory",
        ),
        (
            [
                PREFIX + "ValueError: the model's context is 1024 tokens",
                "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}",
            ],
            "ValueError: the model's context is 1024 tokens",
        ),
        (
            ["vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue."],
            "vllm.v1.engine.exceptions.Eng",
        ),
        ([PREFIX + "KeyError: " + "x" * 900], "KeyError: xxx"),
    ],
)
def test_the_last_line_that_names_an_error_is_told(tmp_path: Path, lines: list[str], words: str) -> None:
    log = tmp_path / "engine.log"
    log.write_text("\n".join(lines))
    found = find_last_words(log)
    assert found.startswith(words)
    assert bool(found) == bool(words)
    assert len(found) <= 200


def test_a_log_that_is_not_there_says_nothing(tmp_path: Path) -> None:
    assert find_last_words(tmp_path / "engine.log") == ""
