"""Sign-in with OpenID Connect, from the console to a provider and back."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from playwright.sync_api import expect

from backend.actions import list_changes
from tests.browser.conftest import WAIT_MS, Console, Open
from tests.faults.processes import Process, answers_http, free_port

pytestmark = pytest.mark.browser

ANA = {"sub": "ana", "name": "Ana", "email": "ana@example.com", "email_verified": True}


class Provider(Process):
    """An OpenID Connect provider that knows Ana."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        options = ["--port", str(self.port), "--user-claims", json.dumps(ANA)]
        super().__init__(
            [sys.executable, "-W", "ignore", "-m", "oidc_provider_mock", *options], folder / "oidc.log", {}
        )

    def is_ready(self) -> bool:
        """Whether it tells where its doors are."""
        return answers_http(self.port, "/.well-known/openid-configuration")


def write_secrets(file: Path, console_port: int, provider_port: int) -> Path:
    """Streamlit's secrets, as the README tells people to write them."""
    file.write_text(
        "[auth]\n"
        f'redirect_uri = "http://localhost:{console_port}/oauth2callback"\n'
        'cookie_secret = "0123456789abcdef0123456789abcdef"\n'
        'client_id = "governor"\nclient_secret = "not-much-of-a-secret"\n'
        f'server_metadata_url = "http://localhost:{provider_port}/.well-known/openid-configuration"\n'
    )
    return file


def test_a_person_signs_in_changes_a_knob_in_their_own_name_and_signs_out(visit: Open, tmp_path: Path) -> None:
    provider = Provider(tmp_path)
    console = Console(tmp_path, tmp_path / "data", {})
    secrets = write_secrets(tmp_path / "secrets.toml", console.port, provider.port)
    console.environment["STREAMLIT_SECRETS_FILES"] = str(secrets)
    try:
        provider.start()
        console.start()
        page = visit().page
        page.goto(f"http://localhost:{console.port}/settings?section=cache")
        expect(page.get_by_role("button", name="Sign in")).to_be_visible(timeout=WAIT_MS)
        expect(page.get_by_text("Time to live")).to_have_count(0)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("button", name="Ana").click()
        expect(page.get_by_text("ana@example.com")).to_be_visible(timeout=WAIT_MS)
        page.goto(f"http://localhost:{console.port}/settings?section=cache")
        page.get_by_label("Time to live", exact=True).fill("120")
        page.keyboard.press("Tab")
        page.get_by_role("button", name="Review and apply").click()
        page.get_by_label("Why", exact=True).fill("Fresher")
        page.keyboard.press("Tab")
        page.get_by_role("button", name="Apply", exact=True).click()
        expect(page.get_by_text("Settings version 1 is in force.").first).to_be_visible()
        assert [(act.actor, act.reason) for act in list_changes(console.engine)] == [("ana@example.com", "Fresher")]
        page.get_by_role("button", name="Sign out").click()
        page.get_by_role("button", name="End session").click()
        expect(page.get_by_role("button", name="Sign in")).to_be_visible(timeout=WAIT_MS)
    finally:
        console.stop()
        provider.stop()
