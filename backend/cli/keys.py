"""Commands about keys: create (shown once), list, revoke."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from backend.cli.database import opened_current, read_settled_environment
from backend.cli.options import spread
from backend.cli.output import AsJson, Reason, paint, put, put_json, put_rows, say, show_time

app = typer.Typer(help="Keys of callers: create, list, revoke.", no_args_is_help=True)

LABELS = ("user", "feature", "department", "environment")


@dataclass(frozen=True, kw_only=True)
class KeyOptions:
    """What a new key is, as the command line states it."""

    name: Annotated[str, typer.Argument(help="What the key is for.")]
    reason: Reason = "created on the command line"
    scope: Annotated[list[str] | None, typer.Option(help="call, read or admin; call when left out.")] = None
    model: Annotated[list[str] | None, typer.Option(help="A model it may use; all when left out.")] = None
    label: Annotated[list[str] | None, typer.Option(help=f"NAME=VALUE put on its calls: {', '.join(LABELS)}.")] = None
    tenant: Annotated[str | None, typer.Option(help="Share cached answers with this tenant's keys.")] = None
    expires: Annotated[str | None, typer.Option(help="When it ends: 2027-01-31 or a time.")] = None
    as_json: AsJson = False


@app.command("create")
@spread(KeyOptions)
def create(options: KeyOptions) -> None:
    """Create a key; the credential is printed now and never again."""
    from backend import actions
    from backend.cli.moments import read_moment
    from backend.cli.settings import sign

    draft = actions.KeyDraft(
        options.name,
        options.scope or ("call",),
        options.model or (),
        _read_labels(options.label or ()),
        options.tenant,
        read_moment(options.expires) if options.expires else None,
    )
    secret = read_settled_environment().key_secret()
    with opened_current() as engine:
        made = actions.create_key(engine, secret, draft, sign(options.reason))
    if options.as_json:
        put_json({"id": made.id, "credential": made.credential})
        return
    say("This is shown once:")
    put(made.credential)


@app.command("list")
def show_keys(as_json: AsJson = False) -> None:
    """List every key ever made; never a credential."""
    from backend import actions

    with opened_current() as engine:
        lines = actions.list_keys(engine)
    rows = [
        {name: getattr(line, name) for name in line.__slots__}
        | {"state": line.state()}
        | {name: show_time(getattr(line, name)) for name in ("created_at", "expires_at", "revoked_at")}
        for line in lines
    ]
    put_rows(rows, as_json=as_json, columns=["id", "name", "state", "scopes", "models", "created_at", "expires_at"])


@app.command("revoke")
def revoke(
    key: Annotated[str, typer.Argument(help="Its id, or the credential's beginning gov-…")],
    reason: Reason,
    as_json: AsJson = False,
) -> None:
    """Revoke a key: every gateway refuses it within a second."""
    from backend import actions
    from backend.cli.settings import sign

    key_id = key.removeprefix("gov-").partition("-")[0]
    with opened_current() as engine:
        actions.revoke_key(engine, key_id, sign(reason))
    put_json({"id": key_id, "state": "revoked"}) if as_json else put(f"Key {paint(key_id, 'bold')} is revoked.")


def _read_labels(labels: Sequence[str]) -> dict[str, str]:
    pairs = [label.partition("=") for label in labels]
    if wrong := next((label for label, pair in zip(labels, pairs, strict=True) if not pair[1]), None):
        raise typer.BadParameter(f"{wrong!r} is not NAME=VALUE.")
    return {name: value for name, _, value in pairs}
