"""The semantic cache: the verifier's probability on calls, labels of hits."""

from typing import Any

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, Double, String, Text, text

revision = "0004"
down_revision = "0003"

SEMANTIC = text("cache_kind = 'semantic'")


def upgrade() -> None:
    op.add_column("calls", Column("cache_probability", Double))
    op.create_index("calls_semantic", "calls", ["started_at"], sqlite_where=SEMANTIC, postgresql_where=SEMANTIC)
    op.create_table(
        "cache_labels",
        Column("call_id", String(36), primary_key=True),
        Column("source", String(12), primary_key=True),
        *columns(BigInteger, "at stored_at", nullable=False),
        Column("tenant", Text, nullable=False),
        Column("partition", String(32), nullable=False),
        Column("model", Text),
        *columns(Double, "similarity probability", nullable=False),
        Column("same", Boolean, nullable=False),
        Column("propensity", Double, nullable=False),
        Column("share", Double),
        Column("source_call_id", String(36)),
        *columns(Text, "verifier actor note"),
    )
    op.create_index("cache_labels_by_arrival", "cache_labels", ["stored_at"])


def downgrade() -> None:
    op.drop_table("cache_labels")
    op.drop_index("calls_semantic", "calls")
    op.drop_column("calls", "cache_probability")


def columns(kind: Any, names: str, **options: Any) -> list[Column[Any]]:
    return [Column(name, kind, **options) for name in names.split()]
