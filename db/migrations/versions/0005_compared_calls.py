"""An index that answers by itself what the semantic cache compared: pages try thresholds on recorded calls."""

from alembic import op
from sqlalchemy import text

revision = "0005"
down_revision = "0004"

COMPARED = text("cache_probability IS NOT NULL")
COLUMNS = (
    "started_at cache_kind similarity cache_probability similarity_threshold cost_nusd saved_cache_nusd latency_ms"
)


def upgrade() -> None:
    op.create_index("calls_compared", "calls", COLUMNS.split(), sqlite_where=COMPARED, postgresql_where=COMPARED)


def downgrade() -> None:
    op.drop_index("calls_compared", "calls")
