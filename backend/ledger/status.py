"""How the drainer is doing: one small file in the spool folder, read by the gateway, the console and the doctor."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson

from backend.ledger.segments import measure_segments

STATUS_FILE = "drainer.json"
STALE_MS = 10_000


@dataclass(slots=True, frozen=True)
class DrainerStatus:
    """What the drainer last said about itself; it writes about once a second."""

    at: int = 0
    """When this was written, epoch milliseconds."""
    pid: int = 0
    lag_s: float = 0.0
    """Age in seconds of the oldest record not yet in the database, at most."""
    spool_bytes: int = 0
    """Bytes not yet drained."""
    records: int = 0
    """Records drained since the drainer started."""
    quarantined: int = 0
    error: str | None = None
    """Why nothing is being drained; none while all is well."""
    positions: dict[str, int] = field(default_factory=dict)
    """How far each segment is drained."""

    @property
    def stale(self) -> bool:
        """Whether the drainer has been silent for longer than it ever should."""
        return time.time_ns() // 1_000_000 - self.at > STALE_MS


def read_status(folder: Path) -> DrainerStatus | None:
    """What the drainer of this spool folder last wrote; none before its first second."""
    try:
        return DrainerStatus(**orjson.loads((folder / STATUS_FILE).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def write_status(folder: Path, status: DrainerStatus) -> None:
    """Replace the status in one step, so that a reader never sees half of it."""
    draft = folder / f"{STATUS_FILE}.tmp"
    draft.write_bytes(orjson.dumps(asdict(status)))
    draft.replace(folder / STATUS_FILE)


def undrained_bytes(folder: Path) -> int:
    """Bytes in the spool folder that are not in the database yet, as far as the drainer has said."""
    status = read_status(folder)
    positions = status.positions if status else {}
    return sum(max(0, size - positions.get(name, 0)) for name, size in measure_segments(folder).items())
