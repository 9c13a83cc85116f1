"""Knobs of pricing: what happens when a model has no price."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from backend.settings.knobs.deployments import Rate
from backend.settings.knobs.section import Section, knob


class PricingSettings(Section):
    """What to do with a call whose price nobody knows; unknown is never shown as zero."""

    unpriced: Literal["allow", "estimate", "block"] = knob(
        "allow", "Unpriced models", "Let them pass as unpriced, price them at the rates below, or refuse them."
    )
    estimate_input: Rate = knob(Decimal(5), "Estimated input", "Dollars per million prompt tokens under estimate.")
    estimate_output: Rate = knob(
        Decimal(15), "Estimated output", "Dollars per million completion tokens under estimate."
    )
