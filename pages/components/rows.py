"""Rows of a data frame, one by one."""

from __future__ import annotations

from typing import Any

import pandas as pd


def rows_of(frame: pd.DataFrame) -> list[Any]:
    """Each row with its columns as attributes."""
    return list(frame.itertuples())


def known(value: Any) -> float | None:
    """A cell's number; None where the frame has a gap."""
    return None if value is None or pd.isna(value) else float(value)


def whole(value: Any) -> int | None:
    """A cell's whole number (money, counts) without a detour through a float; None where the frame has a gap."""
    return None if value is None or pd.isna(value) else int(value)
