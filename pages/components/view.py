"""What the visitor looks at: range, group-by, comparison and filters, as the address says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from backend.reports.filters import DIMENSIONS, LONGEST_MS, PRESETS, Scope, make_scope, preset_scope

DEFAULT_RANGE = "24h"
DEFAULT_GROUP = "model"
_MINUTE_MS = 60_000
_STAMP = "%Y%m%dT%H%M%S"

PARAMETERS = ("range", "group", "compare", *DIMENSIONS)
"""Names in the address that belong to the view."""


@dataclass(frozen=True, slots=True)
class View:
    """The state that every page shares; two equal views have the same address."""

    range: str = DEFAULT_RANGE
    group: str = DEFAULT_GROUP
    compare: bool = True
    filters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def custom(self) -> tuple[int, int] | None:
        """Both ends of a custom range (epoch ms); None for a ready-made one."""
        return read_span(self.range)

    def scope(self) -> Scope:
        """The calls this view shows, as reports take them."""
        if self.custom is None:
            return preset_scope(self.range, self.filters, compare=self.compare)
        return make_scope(*self.custom, self.filters, compare=self.compare)

    def parameters(self, **extra: str) -> dict[str, str | list[str]]:
        """The address's query; defaults are left out, so that links stay short."""
        found: dict[str, str | list[str]] = {}
        if self.range != DEFAULT_RANGE:
            found["range"] = self.range
        if self.group != DEFAULT_GROUP:
            found["group"] = self.group
        if not self.compare:
            found["compare"] = "off"
        found.update({name: list(values) for name, values in self.filters.items() if values})
        return {**found, **extra}

    def link(self, **extra: str) -> dict[str, str | list[str]]:
        """The query of a link: it always says a range, so that arriving takes this view and no older one."""
        return self.parameters(**{"range": self.range, **extra})

    def narrowed(self, dimension: str, *values: str) -> View:
        """The view with this filter set; no values remove it."""
        kept = {name: chosen for name, chosen in self.filters.items() if name != dimension}
        return replace(self, filters={**kept, dimension: values} if values else kept)

    def spanning(self, start_at: int, end_at: int) -> View:
        """The view over another range (epoch ms), widened to whole minutes."""
        return replace(self, range=write_span(start_at - start_at % _MINUTE_MS, end_at + -end_at % _MINUTE_MS))


def read_view(query: Mapping[str, Sequence[str]]) -> View:
    """The view an address asks for; what cannot be understood (an old link, a typo) is left at its default."""
    first = {name: values[0] for name, values in query.items() if values}
    wanted = first.get("range", DEFAULT_RANGE)
    group = first.get("group", DEFAULT_GROUP)
    filters = {name: tuple(dict.fromkeys(query[name])) for name in DIMENSIONS if query.get(name)}
    return View(
        wanted if wanted in PRESETS or read_span(wanted) else DEFAULT_RANGE,
        group if group in DIMENSIONS else DEFAULT_GROUP,
        first.get("compare") != "off",
        filters,
    )


def write_span(start_at: int, end_at: int) -> str:
    """A custom range as it stands in the address: two UTC moments to the second."""
    return "-".join(datetime.fromtimestamp(at / 1000, UTC).strftime(_STAMP) for at in (start_at, end_at))


def read_span(text: str) -> tuple[int, int] | None:
    """Both ends of a custom range (epoch ms); None when the text is none or the range is impossible."""
    start, _, end = text.partition("-")
    try:
        start_at, end_at = (
            int(datetime.strptime(each, _STAMP).replace(tzinfo=UTC).timestamp() * 1000) for each in (start, end)
        )
    except ValueError:
        return None
    return (start_at, end_at) if 0 <= start_at < end_at and end_at - start_at <= LONGEST_MS else None
