"""Quality beside speed: what the memory that a quantised variant saves costs, and what it brings."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any, Literal

import pandas as pd
import streamlit as st

from backend.reports.engine_quality import QualityLine, find_now, read_quality_lines
from backend.settings.knobs import EngineSpec
from pages.components import data
from pages.components import format as fmt
from pages.components.cards import card

REFERENCE = "reference"
_GIB, _MIB = 2**30, 2**20
_HINT = (
    "Perplexity and agreement with full precision on the text named; the best load of its sweeps, a sweet spot where "
    "one was found."
)
_RIGHT = ("Memory", "Perplexity", "× reference", "Agreement", "Tokens/s", "TTFT p95")
_NUMBERS: Any = {name: st.column_config.TextColumn(alignment="right") for name in _RIGHT}


def draw_quality(spec: EngineSpec) -> None:
    """The engine's own figures, or how to measure them; then every variant, the heaviest first."""
    specs = data.settings().settings.engine.engines
    lines = data.read(read_quality_lines, specs)
    own = find_now(lines, spec)
    if own is None or own.judged is None:
        _draw_unmeasured(spec)
    else:
        with st.grid(4, min_column_width=170, gap="small"):
            _draw_figures(own)
    if any(line.judged for line in lines):
        with card("Quality beside speed", hint=_HINT):
            _draw_table(pd.DataFrame([_row(line) for line in lines]))


def write_ratio(line: QualityLine | None) -> str:
    """How many times as perplexed as full precision."""
    if line is None or line.judged is None:
        return fmt.ABSENT
    return REFERENCE if line.perplexity_ratio is None else f"{line.perplexity_ratio:.3f}"


def write_agreement(line: QualityLine | None) -> str:
    """The share of tokens on which it agrees with full precision."""
    return fmt.share(line.agreement if line else None)


def _draw_unmeasured(spec: EngineSpec) -> None:
    with st.container(border=True, key="nothing"):
        if spec.server != "vllm":
            st.subheader("Cannot be measured", anchor=False)
            st.write("Of the servers that are known, only vLLM says how likely it thinks a text.")
            return
        st.subheader("Not measured yet", anchor=False)
        st.write(
            "What saved memory costs is measured on a text of yours: how perplexed this engine is by it, and how often "
            "its likeliest next token is that of the full-precision model, which another engine serves or a folder has."
        )
        st.code(f"governor engine quality {spec.name} --reference ENGINE_OR_FOLDER --text FILE", language="bash")


def _draw_figures(line: QualityLine) -> None:
    perplexity, speed = line.perplexity, line.speed
    beside = "what others are compared with" if line.is_reference else f"{write_ratio(line)} × full precision"
    text = f"{line.judged.tokens:,} tokens of {line.judged.text_name}" if line.judged else ""
    saved = f"{fmt.share(line.weight_share)} of full precision" if line.weight_share else _write_precision(line)
    load = (
        "not swept yet" if speed is None else f"TTFT p95 {fmt.duration(speed.ttft_p95_ms)}, {speed.concurrency} at once"
    )
    tiles = [
        ("Perplexity", fmt.ABSENT if perplexity is None else f"{perplexity:,.2f}", beside),
        ("Agreement", write_agreement(line), text),
        ("Weights", _write_size(line), saved),
        ("Answer tokens/s", fmt.ABSENT if speed is None else f"{speed.tokens_per_s:,.0f}", load),
    ]
    for title, value, note in tiles:
        told = fmt.plain(note)
        st.metric(title, value, told, delta_color="off", delta_arrow="off", border=True, height="stretch")


def _draw_table(table: pd.DataFrame) -> None:
    height: Literal["content"] | int = "content" if len(table) <= 15 else 560
    st.dataframe(table, hide_index=True, alt="Quality beside speed", height=height, column_config=_NUMBERS)


def _row(line: QualityLine) -> dict[str, str]:
    speed, judged = line.speed, line.judged
    return {
        "Engine": line.engine or "not served",
        "Model": PurePath(line.variant.model).name or line.variant.model,
        "Weights": _write_precision(line),
        "Memory": _write_size(line),
        "Perplexity": fmt.ABSENT if line.perplexity is None else f"{line.perplexity:,.2f}",
        "× reference": write_ratio(line),
        "Agreement": write_agreement(line),
        "Tokens/s": fmt.ABSENT if speed is None else f"{speed.tokens_per_s:,.1f}",
        "TTFT p95": fmt.duration(speed.ttft_p95_ms if speed else None),
        "Load": fmt.ABSENT if speed is None else f"{speed.concurrency} × {speed.shape}",
        "Text": fmt.ABSENT if judged is None else f"{judged.text_name}, {judged.tokens:,} tokens",
        "Measured": fmt.ABSENT if judged is None else f"{fmt.moment(judged.measured_at, data.zone()):%Y-%m-%d}",
    }


def _write_precision(line: QualityLine) -> str:
    return line.weights.precision or "not known"


def _write_size(line: QualityLine) -> str:
    size = line.weights.size_bytes
    if size is None:
        return fmt.ABSENT
    return f"{size / _GIB:,.2f} GiB" if size >= _GIB else f"{size / _MIB:,.1f} MiB"
