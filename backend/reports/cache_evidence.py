"""What is known about the semantic cache's answers: its labels, the decision they allow, the verifier's honesty.

The decisions are those of the gateway's own code over the same labels, so that the page and the gateway agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import pandas as pd

from backend.cache.semantic.calibration import Calibration, Decision, Label
from backend.cache.semantic.features import read_features
from backend.cache.semantic.feed import Standing, choose, read_verifiers_of
from backend.cache.semantic.forecast import calibration_curve
from backend.cache.semantic.refit import labels_for_next
from backend.cache.semantic.verifier import Verifier
from backend.reports.filters import Scope
from backend.reports.ledger import Ledger
from backend.reports.spend import OverTime
from backend.settings.knobs import CacheSettings
from backend.settings.store import current
from db.bounded import Connection
from db.cache_labels import count_labels, read_labels
from db.cache_reads import count_labels_over_time, read_label_revision
from db.cache_verifiers import VerifierRow, find_space, read_verifiers

__all__ = [
    "Decision",
    "Evidence",
    "VerifierRow",
    "decide",
    "evidence_of",
    "labels_over_time",
    "labels_summary",
    "partitions_table",
    "read_curve",
    "read_verifier",
]

SAME, DIFFERENT = "same answer", "different answer"
SOURCES = {
    "exact": "by text",
    "numeric": "by numbers",
    "structured": "by structure",
    "embedding": "by meaning",
    "judge": "by a judge",
    "human": "by a person",
}
"""How a label came about, in words."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The labels about one verifier, and what follows from them."""

    verifier: Verifier
    labels: tuple[Label, ...]
    calibration: Calibration
    others: int
    """Labels that are no evidence about this verifier's probabilities."""
    since_at: int = 0
    """When it came into use (epoch ms): what calls before it say was another's."""


@dataclass(frozen=True, slots=True)
class Knowledge:
    """The verifier in use and the one before it or waiting, oldest first; every refit that was tried."""

    standings: tuple[Evidence, ...]
    tries: tuple[VerifierRow, ...] = ()
    featured: int = 0
    """Labels that a refit can learn from."""


@dataclass(frozen=True, slots=True)
class VerifierReport:
    """Which verifier is in use, which waits for evidence of its own, and what came of the last refit."""

    name: str
    waiting: str | None
    last: VerifierRow | None
    featured: int
    next_at: int
    """With so many labels a refit is tried next."""


@dataclass(frozen=True, slots=True)
class LabelCount:
    """Labels of one source: how many, and how many of them say that the answers differ."""

    source: str
    labels: int
    different: int


def evidence_of(ledger: Ledger, connection: Connection) -> Evidence:
    """About the verifier in use, counted once per change of labels; the gateway's own choice among several."""
    standings = _know(ledger, read_label_revision(connection)).standings
    return standings[0] if len(standings) == 1 else choose(standings, current(ledger.database.engine).settings.cache)


def read_verifier(ledger: Ledger) -> VerifierReport:
    """The verifier in use and its refits."""
    with ledger.read() as connection:
        in_use, known = evidence_of(ledger, connection), _know(ledger, read_label_revision(connection))
    newest = known.standings[-1].verifier.name
    waiting = None if newest == in_use.verifier.name else newest
    last = known.tries[-1] if known.tries else None
    return VerifierReport(in_use.verifier.name, waiting, last, known.featured, labels_for_next(known.tries))


@lru_cache(maxsize=2)
def _know(ledger: Ledger, revision: int) -> Knowledge:
    del revision  # part of the key: labels are read again once it has grown
    with ledger.read() as connection:
        labels, space = read_labels(connection), find_space(connection) or ""
        tries = read_verifiers(connection, space)
    standings = [_weigh(each, labels, space) for each in read_verifiers_of(tries, Verifier.default())]
    featured = {label.id for label in labels if read_features(label.features, space) is not None}
    return Knowledge(tuple(standings), tuple(tries), len(featured))


def _weigh(verifier: Verifier, labels: list[Label], space: str) -> Evidence:
    standing = Standing(verifier, space)
    own = tuple(standing.add(labels))
    used = [label.at for label in labels if label.verifier == verifier.name]
    since_at = min(used, default=verifier.fitted_until) if verifier.fitted_until else 0
    return Evidence(verifier, own, standing.calibration, len(labels) - len(own), since_at)


def decide(ledger: Ledger, settings: CacheSettings) -> Decision:
    """What the gateway serves now where a partition has no evidence of its own."""
    with ledger.read() as connection:
        return evidence_of(ledger, connection).calibration.decide("", settings)


def partitions_table(ledger: Ledger, settings: CacheSettings, limit: int = 50) -> pd.DataFrame:
    """Partitions with most labels first: ``partition tenant model labels different newest_at state scope reason``."""
    with ledger.read() as connection:
        calibration = evidence_of(ledger, connection).calibration
        rows = count_labels(connection)[:limit]
    lines = []
    for row in rows:
        made = calibration.decide(row["partition"], settings)
        named = (row["partition"], row["tenant"], row["model"], int(row["labels"]), int(row["false_hits"]))
        lines.append((*named, row["newest_at"], made.state, made.scope, made.reason))
    columns = ["partition", "tenant", "model", "labels", "different", "newest_at", "state", "scope", "reason"]
    return pd.DataFrame(lines, columns=columns)


def read_curve(ledger: Ledger) -> pd.DataFrame:
    """What the verifier said against what came true: ``probability same low high labels``, by rising probability."""
    with ledger.read() as connection:
        points = calibration_curve(evidence_of(ledger, connection).labels)
    lines = [(each.probability, each.same, each.low, each.high, each.labels) for each in points]
    return pd.DataFrame(lines, columns=["probability", "same", "low", "high", "labels"])


def labels_over_time(ledger: Ledger, scope: Scope) -> OverTime:
    """Labels per bucket, split by what they say."""
    with ledger.read() as connection:
        rows = count_labels_over_time(connection, scope.window, scope.bucket_ms)
    counts: dict[tuple[int, str], int] = {}
    for row in rows:
        key = (row["at"], SAME if row["same"] else DIFFERENT)
        counts[key] = counts.get(key, 0) + row["labels"]
    lines = [(at, group, counts.get((at, group), 0)) for at in scope.buckets for group in (SAME, DIFFERENT)]
    frame = pd.DataFrame(lines, columns=["at", "group", "value"]).astype({"at": "int64", "value": "int64"})
    return OverTime(frame, (SAME, DIFFERENT) if counts else (), 0, "calls")


def labels_summary(ledger: Ledger) -> list[LabelCount]:
    """All labels by source, most first."""
    with ledger.read() as connection:
        labels = evidence_of(ledger, connection).labels
    found = []
    for source, title in SOURCES.items():
        said = [label.same for label in labels if label.source == source]
        if said:
            found.append(LabelCount(title, len(said), said.count(False)))
    return sorted(found, key=lambda each: -each.labels)
