from __future__ import annotations

import pytest

from backend.ledger.records import Payload
from backend.ledger.redaction import BLANK, Redaction
from backend.settings.knobs import LedgerSettings


def reduce(request: bytes, **knobs: object) -> tuple[bytes, bool]:
    settings = LedgerSettings.model_validate({"capture": True, **knobs})
    call_id, kept, response, truncated, captured_at = Redaction(settings).row(Payload("c", request, b"", 7))
    assert (call_id, response, captured_at) == ("c", b"", 7)
    return kept, truncated


def test_a_small_body_is_kept_as_it_is() -> None:
    assert reduce(b"\xff\x00 bytes") == (b"\xff\x00 bytes", False)


def test_a_large_body_is_cut_and_said_to_be() -> None:
    assert reduce(b"x" * 2_000, capture_max_kb=1) == (b"x" * 1_024, True)


def test_every_pattern_is_blanked_out_everywhere() -> None:
    kept, truncated = reduce(b"sk-abc, a@b.example, sk-def", redact=(r"sk-\w+", r"\w+@[\w.]+"))
    assert (kept, truncated) == (b", ".join([BLANK] * 3), False)


def test_a_secret_at_the_cut_is_still_recognised() -> None:
    kept, _ = reduce(b"x" * 1_020 + b"sk-" + b"a" * 40, capture_max_kb=1, redact=(r"sk-\w{20,}",))
    assert b"sk-" not in kept


def test_a_pattern_beyond_ascii_matches_utf_8() -> None:
    assert reduce("Zoë lives here".encode(), redact=("Zoë",))[0] == BLANK + b" lives here"


def test_a_wrong_pattern_is_refused_by_its_knob() -> None:
    with pytest.raises(ValueError, match="not a regular expression"):
        LedgerSettings(redact=("(",))


def test_a_wrong_pattern_keeps_nothing_rather_than_everything(caplog: pytest.LogCaptureFixture) -> None:
    settings = LedgerSettings().model_copy(update={"redact": ("(",)})
    _, request, response, _, _ = Redaction(settings).row(Payload("c", b"a secret", b"", 7))
    assert (request, response) == (BLANK, BLANK)
    assert "not a regular expression" in caplog.text
