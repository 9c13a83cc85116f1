"""The verifier refitted on labels: the features of compared pairs, and every fit with what came of it."""

from typing import Any

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, Double, Integer, String, Text

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("cache_labels", Column("features", Text))
    op.create_table(
        "cache_verifiers",
        Column("space", String(8), primary_key=True),
        Column("generation", Integer, primary_key=True, autoincrement=False),
        *columns(Text, "name replaces numbers", nullable=False),
        *columns(BigInteger, "fitted_at fitted_until labels held_out", nullable=False),
        *columns(Double, "gain gain_low", nullable=False),
        Column("adopted", Boolean, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("cache_verifiers")
    op.drop_column("cache_labels", "features")


def columns(kind: Any, names: str, **options: Any) -> list[Column[Any]]:
    return [Column(name, kind, **options) for name in names.split()]
