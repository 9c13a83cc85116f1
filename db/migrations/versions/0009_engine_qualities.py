"""The quality of engines beside full precision: perplexity and agreement on a text, and what the weights take."""

from typing import Any

from alembic import op
from sqlalchemy import BigInteger, Column, Double, String, Text

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "engine_qualities",
        Column("id", String(36), primary_key=True),
        Column("measured_at", BigInteger, nullable=False),
        *columns(Text, "engine model quantisation dtype", nullable=False),
        Column("precision", Text),
        Column("weight_bytes", BigInteger),
        Column("reference_engine", Text),
        *columns(Text, "reference_model reference_quantisation reference_dtype", nullable=False),
        Column("reference_precision", Text),
        Column("reference_weight_bytes", BigInteger),
        Column("text_name", Text, nullable=False),
        Column("tokens", BigInteger, nullable=False),
        *columns(Double, "perplexity reference_perplexity agreement mean_difference", nullable=False),
    )
    op.create_index("engine_qualities_by_time", "engine_qualities", ["measured_at"])


def downgrade() -> None:
    op.drop_table("engine_qualities")


def columns(kind: Any, names: str, **options: Any) -> list[Column[Any]]:
    return [Column(name, kind, **options) for name in names.split()]
