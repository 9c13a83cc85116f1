"""One Markdown table: a row for each measure, a column for each target, the goal and whether it is met."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.rig.measures import Figures

UPSTREAM, BARE, MEMORY = "upstream", "bare ASGI (passing)", "bare ASGI (remembering)"
GOVERNOR, PROXY, LIBRARY = "Governor", "LiteLLM proxy", "acompletion"


@dataclass(slots=True, frozen=True)
class Row:
    """A measure: how to show its figures, and the goals that are read off it."""

    title: str
    measure: str
    digits: int = 0
    bare: str = BARE
    rival: str = PROXY
    goals: tuple[tuple[str, Callable[[float, float, float], float], float], ...] = ()
    """(text, figure from (governor, bare, rival), bound); a text with ≥ must reach it, one with ≤ must keep to it."""


def _itself(governor: float, _bare: float, _rival: float) -> float:
    return governor


def _of_bare(governor: float, bare: float, _rival: float) -> float:
    return governor / bare


def _of_rival(governor: float, _bare: float, rival: float) -> float:
    return governor / rival


def _above_rival(governor: float, _bare: float, rival: float) -> float:
    return governor - rival


def rows(connections: tuple[int, ...]) -> list[Row]:
    """Every measure in the order of the table."""
    speed: list[Row] = []
    for count in connections:
        goals = (("{:.2f} of bare (≥ 0.6)", _of_bare, 0.6), ("{:.0f} × LiteLLM (≥ 40)", _of_rival, 40.0))
        speed.append(Row(f"pass-through, calls/s, {count} connections", f"pass {count} calls/s", goals=goals))
        speed.append(Row(f"pass-through, CPU µs a call, {count} connections", f"pass {count} µs"))
    above = (("{:+.2f} ms (≤ 0.3)", _above_rival, 0.3),)
    within_half, within_two = (("≤ 0.5 ms", _itself, 0.5),), (("≤ 2 ms", _itself, 2.0),)
    return [
        *speed,
        Row("latency p50, ms, 1 connection", "p50 ms", 2),
        Row("latency p99, ms, 1 connection", "p99 ms", 2),
        Row("added to the upstream, p50, ms", "added p50 ms", 2, goals=within_half),
        Row("added to the upstream, p99, ms", "added p99 ms", 2, goals=within_two),
        Row("exact hit (bare: from memory), calls/s", "hit calls/s", 0, MEMORY, goals=(("≥ 10,000", _itself, 1e4),)),
        Row("exact hit, CPU µs a call", "hit µs", 0, MEMORY),
        Row("first event of a stream, overhead p50, ms", "first event p50 ms", 2),
        Row("first event of a stream, overhead p99, ms", "first event p99 ms", 2, goals=(("≤ 1 ms", _itself, 1.0),)),
        Row("share of the core for these streams, %", "streams core %"),
        Row("memory with open streams, MB", "open streams MB", goals=(("≤ 600 MB", _itself, 600.0),)),
        Row("memory after the start, MB", "start MB"),
        Row("memory after the calls, MB", "memory MB", goals=(("≤ 150 MB", _itself, 150.0),)),
        Row("growth, kB per 1,000 calls", "memory kB per 1,000 calls", 1),
        Row("start to the first answer, s", "start s", 2, goals=(("≤ 2 s", _itself, 2.0),)),
        Row("LiteLLM path (LiteLLM: acompletion), p50, ms", "litellm p50 ms", 2, rival=LIBRARY, goals=above),
        Row("LiteLLM path, CPU µs a call", "litellm µs", 0, rival=LIBRARY),
    ]


def render(figures: Figures, connections: tuple[int, ...]) -> str:
    """The table; measures that were not made are left out."""
    lines = ["| measure | upstream | bare ASGI | **Governor** | LiteLLM | goal |", "|---|---:|---:|---:|---:|---|"]
    lines += [_line(row, figures) for row in rows(connections) if (row.measure, GOVERNOR) in figures]
    return "\n".join(lines)


def _line(row: Row, figures: Figures) -> str:
    columns = (UPSTREAM, row.bare, GOVERNOR, row.rival)
    found = [figures.get((row.measure, column)) for column in columns]
    if row.measure.startswith("first event"):
        found[0] = figures.get((row.measure, "streaming upstream"))
    shown = [_show(figure, row.digits) for figure in found]
    shown[2] = f"**{shown[2]}**"
    goals = "; ".join(_judge(goal, found[1], found[2], found[3]) for goal in row.goals)
    return f"| {row.title} | {' | '.join(shown)} | {goals} |"


def _show(figure: float | None, digits: int) -> str:
    return "–" if figure is None else f"{figure:,.{digits}f}"


def _judge(
    goal: tuple[str, Callable[[float, float, float], float], float],
    bare: float | None,
    governor: float | None,
    rival: float | None,
) -> str:
    text, figure_of, bound = goal
    missing = float("nan")
    figure = figure_of(governor or missing, bare or missing, rival or missing)
    if figure != figure:  # noqa: PLR0124 - not a number: the other side was not measured
        return ""
    met = figure >= bound if "≥" in text else figure <= bound
    return f"{text.format(figure)} {'met' if met else '**missed**'}"
