"""The settings commands: every change is a version with actor and reason."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from tests.cli.conftest import Governor

UPSTREAM = """
deployments:
  - {name: local, model: gpt-4o-mini, provider: openai, base_url: "http://127.0.0.1:9100/v1", api_key_env: UPSTREAM_KEY}
"""


def test_the_built_in_settings_are_version_0(ready: Governor) -> None:
    (shown,) = ready("settings", "show", "--json").lines
    assert shown["version"] == 0
    assert shown["settings"]["cache"]["ttl_s"] == 3600


def test_one_knob_is_shown_by_its_path(ready: Governor) -> None:
    assert ready("settings", "show", "cache.ttl_s", "--json").out == "3600\n"
    assert ready("settings", "show", "deployments.simulated-gpt-4o.provider", "--json").out == '"simulated"\n'


def test_a_knob_is_set_with_a_reason(ready: Governor) -> None:
    (made,) = ready("settings", "set", "cache.ttl_s", "600", "--reason", "fresher answers", "--json").lines
    assert made["version"] == 1
    assert made["actor"].startswith("cli:")
    assert ready("settings", "show", "cache.ttl_s", "--json").out == "600\n"
    (line,) = ready("settings", "history", "--json").lines
    assert line["changes"] == [{"path": "cache.ttl_s", "before": 3600, "after": 600}]
    assert line["reason"] == "fresher answers"


def test_a_change_without_a_reason_is_refused(ready: Governor) -> None:
    assert ready("settings", "set", "cache.ttl_s", "600").code == 2
    assert ready("settings", "set", "cache.ttl_s", "600", "--reason", "  ").code == 1


@pytest.mark.parametrize("path", ["cache.ttl", "nothing", "cache", "cache.ttl_s.deeper"])
def test_only_what_exists_can_be_set(ready: Governor, path: str) -> None:
    said = ready("settings", "set", path, "600", "--reason", "x")
    assert said.code == 1
    assert ready("settings", "history", "--json").lines == []


def test_a_partial_file_replaces_its_sections_as_one_version(ready: Governor, tmp_path: Path) -> None:
    file = tmp_path / "upstream.yaml"
    file.write_text(UPSTREAM + "\ncache: {ttl_s: 60}\n")
    assert ready("settings", "apply", str(file), "--reason", "real upstream", "--json").lines[0]["version"] == 1
    (shown,) = ready("settings", "show", "--json").lines
    assert [each["name"] for each in shown["settings"]["deployments"]] == ["local"]
    assert shown["settings"]["cache"]["ttl_s"] == 60
    assert shown["settings"]["upstream"]["max_attempts"] == 3


def test_a_dry_run_shows_the_difference_and_changes_nothing(ready: Governor, tmp_path: Path) -> None:
    file = tmp_path / "cache.yaml"
    file.write_text("cache: {ttl_s: 60}")
    said = ready("settings", "apply", str(file), "--reason", "x", "--dry-run")
    assert "+  ttl_s: 60" in said.out
    assert ready("settings", "show", "--json").lines[0]["version"] == 0


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("cache: [", "is not YAML"),
        ("- 1", "must hold sections"),
        ("cash: {}", "no such section"),
        ("cache: {ttl_s: 0}", "cache.ttl_s"),
    ],
)
def test_a_bad_file_changes_nothing(ready: Governor, tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    said = ready("settings", "apply", str(file), "--reason", "x")
    assert said.code == 1
    assert complaint in said.err
    assert ready("settings", "history", "--json").lines == []


def test_a_stale_change_is_refused(ready: Governor) -> None:
    ready("settings", "set", "cache.ttl_s", "600", "--reason", "first")
    said = ready("settings", "set", "cache.ttl_s", "700", "--reason", "second", "--based-on", "0")
    assert said.code == 1
    assert "changed since version 0" in said.err


def test_an_earlier_version_comes_back_as_a_new_one(ready: Governor) -> None:
    ready("settings", "set", "cache.ttl_s", "600", "--reason", "first")
    ready("settings", "set", "cache.ttl_s", "700", "--reason", "second")
    assert ready("settings", "rollback", "1", "--reason", "too long", "--json").lines[0]["version"] == 3
    assert ready("settings", "show", "cache.ttl_s", "--json").out == "600\n"
    assert ready("settings", "rollback", "99", "--reason", "x").code == 1


def test_two_versions_are_compared(ready: Governor) -> None:
    ready("settings", "set", "cache.ttl_s", "600", "--reason", "first")
    changes = orjson.loads(ready("settings", "diff", "0", "1", "--json").out)
    assert changes == [{"path": "cache.ttl_s", "before": 3600, "after": 600}]
    text = ready("settings", "diff", "0").out
    assert "-  ttl_s: 3600" in text
    assert "+  ttl_s: 600" in text
