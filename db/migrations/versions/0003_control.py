"""What people decide: settings, keys, prices, the audit."""

from typing import Any

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, String, Text

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    create_settings()
    create_keys()
    create_prices()
    create_audit()


def downgrade() -> None:
    for table in ("audit", "revisions", "prices", "keys", "settings_versions"):
        op.drop_table(table)


def columns(kind: Any, names: str, **options: Any) -> list[Column[Any]]:
    return [Column(name, kind, **options) for name in names.split()]


def create_settings() -> None:
    op.create_table(
        "settings_versions",
        Column("version", Integer, primary_key=True, autoincrement=False),
        *columns(Text, "values changes", nullable=False),
        *columns(Text, "actor reason", nullable=False),
        Column("created_at", BigInteger, nullable=False),
    )


def create_keys() -> None:
    op.create_table(
        "keys",
        Column("id", String(36), primary_key=True),
        Column("hash", String(64), nullable=False, unique=True),
        *columns(Text, "name prefix tenant", nullable=False),
        *columns(Text, "scopes models attribution", nullable=False),
        Column("created_at", BigInteger, nullable=False),
        *columns(BigInteger, "expires_at revoked_at"),
        *columns(Text, "created_by revoked_by reason"),
    )


def create_prices() -> None:
    op.create_table(
        "prices",
        Column("id", Text, primary_key=True),
        Column("model", Text, nullable=False),
        Column("provider", Text),
        Column("effective_from", BigInteger, nullable=False),
        *columns(Text, "source rates", nullable=False),
        *columns(Text, "actor reason"),
        Column("created_at", BigInteger, nullable=False),
    )
    op.create_index("prices_by_model", "prices", ["model", "effective_from"])
    op.create_table(
        "revisions",
        Column("noun", Text, primary_key=True),
        Column("revision", BigInteger, nullable=False),
    )


def create_audit() -> None:
    op.create_table(
        "audit",
        Column("id", String(36), primary_key=True),
        Column("at", BigInteger, nullable=False),
        *columns(Text, "actor action subject reason", nullable=False),
        Column("changes", Text),
    )
    op.create_index("audit_by_time", "audit", ["at"])
