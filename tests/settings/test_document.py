from __future__ import annotations

from typing import Any

import orjson
import pytest

from backend.errors import InvalidSettings
from backend.settings.document import UnreadableSettings, dump, load, validate
from backend.settings.knobs import Deployment, Settings

LOCAL = {"name": "local", "model": "m", "base_url": "http://127.0.0.1:9/v1"}


def stored(**changes: Any) -> str:
    return orjson.dumps(dump(Settings()) | changes).decode()


def test_every_document_comes_back_from_storage_as_it_was() -> None:
    settings = Settings(deployments=(Deployment(name="a", model="*", price={"input": "0.15", "output": "0.6"}),))
    assert load(orjson.dumps(dump(settings)).decode()) == (settings, ())


def test_a_knob_that_is_gone_is_dropped_with_a_note_wherever_it_stands() -> None:
    cache = dump(Settings())["cache"] | {"ttl_s": 7, "sharpness": 3}
    settings, notes = load(stored(cache=cache, deployments=[LOCAL | {"colour": "red"}], weather={"wind": 1}))
    assert settings.cache.ttl_s == 7
    assert settings.deployments[0].name == "local"
    assert sorted(notes) == [
        "cache.sharpness is no longer a knob; ignored",
        "deployments[local].colour is no longer a knob; ignored",
        "weather is no longer a knob; ignored",
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (stored(cache={"ttl_s": 0}), "cache.ttl_s: Input should be greater than or equal to 1"),
        (stored(deployments=[LOCAL, LOCAL]), "deployment declared twice: local"),
        (stored(cache={"ttl_s": 0, "sharpness": 3}), "cache.ttl_s"),
        ("{", "not a settings document"),
        ("null", "valid dictionary"),
        ("[]", "valid dictionary"),
        ('{"cache": []}', "cache"),
    ],
)
def test_a_document_with_a_value_out_of_bounds_is_unreadable_and_never_guessed_at(text: str, complaint: str) -> None:
    with pytest.raises(UnreadableSettings, match=complaint.replace("[", r"\[")):
        load(text)


def test_each_problem_is_named_by_its_knob() -> None:
    with pytest.raises(InvalidSettings) as caught:
        validate({"cache": {"ttl_s": 0}, "deployments": [LOCAL | {"weight": -1}], "ledger": {"colour": 1}})
    assert dict(caught.value.problems) == {
        "cache.ttl_s": "Input should be greater than or equal to 1",
        "deployments[local].weight": "Input should be greater than or equal to 0",
        "ledger.colour": "unknown name",
    }
    assert caught.value.status == 400
    assert caught.value.param == "cache.ttl_s"


def test_a_secret_pasted_into_the_wrong_place_is_not_repeated() -> None:
    secret = "sk-proj-0123456789abcdef"
    with pytest.raises(InvalidSettings) as caught:
        validate({"deployments": [LOCAL | {"api_key": secret, "api_key_env": secret, "weight": secret}]})
    assert secret not in str(caught.value.body())
    assert len(caught.value.problems) == 3


def test_a_copy_that_skipped_validation_is_validated() -> None:
    settings = Settings()
    bad = settings.model_copy(update={"cache": settings.cache.model_copy(update={"ttl_s": -1})})
    with pytest.raises(InvalidSettings, match="ttl_s"):
        validate(bad)
