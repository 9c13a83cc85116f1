from __future__ import annotations

import pytest

from backend.errors import BadRequest
from backend.settings.signature import Signature


@pytest.mark.parametrize(
    ("actor", "reason", "param"), [("", "why", "actor"), (" \x00", "why", "actor"), ("ana", "\t ", "reason")]
)
def test_a_change_without_a_name_or_a_reason_is_refused(actor: str, reason: str, param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        Signature(actor, reason)
    assert caught.value.param == param


def test_control_characters_and_endless_texts_do_not_reach_the_history() -> None:
    signature = Signature("ana\x1b[2J\x00", "x" * 5000)
    assert (signature.actor, len(signature.reason)) == ("ana[2J", 1000)
