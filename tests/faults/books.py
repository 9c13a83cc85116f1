"""the three books side by side: client journal, upstream journal, ledger; joined by marker and by id."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Row = dict[str, Any]


class Discrepancy(NamedTuple):
    """One thing that does not add up: its kind, the marker or id it concerns, and what each book says."""

    kind: str
    about: str
    evidence: str

    def __str__(self) -> str:
        return f"{self.kind} [{self.about}]: {self.evidence}"


@dataclass
class Books:
    """What each side wrote down. `totals` are the sums from the rollups, or None when they are not compared."""

    client: list[Row]
    upstream: list[Row]
    calls: list[Row]
    attempts: list[Row]
    totals: Row | None = None

    def accounts(self) -> list["Account"]:
        """One account per marker that any book mentions; a refused call may be known by its id alone."""
        senders = {outcome["call_id"]: outcome["marker"] for outcome in self.client}
        rows = [call | {"marker": call["session_id"] or senders.get(call["id"])} for call in self.calls]
        calls, acceptances = _group(rows, "marker"), _group(self.upstream, "marker")
        clients, attempts = _group(self.client, "marker"), _group(self.attempts, "call_id")
        markers = sorted(({*calls, *acceptances, *clients}) - {""})
        return [
            Account(
                marker,
                clients.get(marker, []),
                acceptances.get(marker, []),
                calls.get(marker, []),
                [attempt for call in calls.get(marker, []) for attempt in attempts.get(call["id"], [])],
            )
            for marker in markers
        ]


@dataclass
class Account:
    """Everything the books say about one marker."""

    marker: str
    outcomes: list[Row]
    acceptances: list[Row]
    calls: list[Row]
    attempts: list[Row] = field(default_factory=list)

    @property
    def succeeded(self) -> list[Row]:
        """Outcomes a client takes for a proper answer."""
        return [outcome for outcome in self.outcomes if outcome["end"] == "ok"]

    @property
    def last_honest(self) -> Row | None:
        """The last acceptance the upstream answered completely."""
        honest = [acceptance for acceptance in self.acceptances if acceptance["end"] == "complete"]
        return honest[-1] if honest else None


def _group(rows: list[Row], key: str) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.get(key) or ""].append(row)
    return groups
