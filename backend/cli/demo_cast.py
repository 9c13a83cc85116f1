"""Who appears in the demo: features with their habits, imitated deployments, the settings before and after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

DEMO = "demo"
"""Who made the settings of the demo, and the feature of its live calls."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One use of language models: whose it is, what it asks, how long, how often the same again."""

    name: str
    department: str
    share: float
    models: dict[str, float]
    prompt_scale: float
    completion_scale: float
    stream_share: float
    repeat_share: float
    prefix_tokens: int = 0
    """Tokens of a system prompt that the provider's prefix cache may know."""
    users: int = 40
    at_night: bool = False
    endpoint: str = "chat.completions"
    similar_share: float = 0.05
    """Of the calls that repeat no other: those that ask in other words what was asked before."""


FEATURES = (
    Feature(
        "support-chat",
        "support",
        0.30,
        {"gpt-4o-mini": 6, "gpt-4o": 3, "claude-haiku-4-5": 1},
        1.0,
        1.0,
        0.9,
        0.24,
        1200,
        similar_share=0.42,
    ),
    Feature(
        "search-answers",
        "product",
        0.20,
        {"gpt-4.1-mini": 7, "gpt-4.1": 2},
        1.6,
        0.7,
        0.8,
        0.30,
        0,
        90,
        similar_share=0.36,
    ),
    Feature("summaries", "operations", 0.09, {"gpt-4o": 5, "claude-sonnet-4-5": 2}, 3.4, 1.4, 0.1, 0.12, 0, 15),
    Feature("code-review", "engineering", 0.08, {"claude-sonnet-4-5": 6, "gpt-4.1": 3}, 4.2, 2.6, 0.4, 0.02, 2600, 35),
    Feature("extraction", "finance", 0.11, {"gpt-4o-mini": 6, "house-extractor": 3}, 1.3, 0.4, 0.0, 0.18, 0, 8, True),
    Feature("translation", "marketing", 0.07, {"gemini-2.5-flash": 1}, 0.6, 1.6, 0.2, 0.20, 0, 12),
    Feature(
        "assistant",
        "people",
        0.08,
        {"gpt-4o": 2, "gemini-2.5-flash": 2},
        0.8,
        1.1,
        1.0,
        0.05,
        0,
        120,
        similar_share=0.2,
    ),
    Feature(
        "indexing",
        "product",
        0.07,
        {"text-embedding-3-small": 1},
        0.5,
        0.0,
        0.0,
        0.10,
        0,
        1,
        at_night=True,
        endpoint="embeddings",
    ),
)

ENVIRONMENTS = {"production": 88.0, "staging": 8.0, "development": 4.0}
UNPRICED_MODEL = "house-extractor"

_SPEEDS = {
    "openai-gpt-4o-mini": ("gpt-4o-mini", 320.0, 95.0),
    "openai-gpt-4o": ("gpt-4o", 420.0, 80.0),
    "azure-gpt-4o": ("gpt-4o", 380.0, 88.0),
    "openai-gpt-4.1": ("gpt-4.1", 450.0, 75.0),
    "openai-gpt-4.1-mini": ("gpt-4.1-mini", 350.0, 90.0),
    "anthropic-claude-sonnet-4-5": ("claude-sonnet-4-5", 650.0, 65.0),
    "anthropic-claude-haiku-4-5": ("claude-haiku-4-5", 380.0, 120.0),
    "google-gemini-2.5-flash": ("gemini-2.5-flash", 300.0, 180.0),
    "openai-text-embedding-3-small": ("text-embedding-3-small", 60.0, 10_000.0),
    "house-extractor": (UNPRICED_MODEL, 140.0, 140.0),
}

REASON_BEFORE = "Imitated deployments for the demo; no cache yet"
REASON_AFTER = "Answer repeated questions from the cache, compare similar ones; send most of gpt-4o to Azure"

FAILING = "simulated-azure-gpt-4o"
"""The deployment that has a bad hour."""


def deployments() -> list[dict[str, Any]]:
    """The imitated deployments, every one of the simulated provider."""
    return [
        {
            "name": f"simulated-{name}",
            "model": model,
            "provider": "simulated",
            "simulation": {"ttft_ms": ttft_ms, "tokens_per_s": tokens_per_s, "completion_tokens": 90},
        }
        for name, (model, ttft_ms, tokens_per_s) in _SPEEDS.items()
    ]


def sections(*, after: bool) -> dict[str, Any]:
    """The settings sections of the demo, before or after its change."""
    azure, openai = (7, 3) if after else (3, 7)
    names = ("simulated-azure-gpt-4o", "simulated-openai-gpt-4o")
    weighted = [{"name": name, "weight": weight} for name, weight in zip(names, (azure, openai), strict=True)]
    return {
        "cache": {"exact_enabled": after, "semantic_enabled": after, "ttl_s": 21_600},
        "deployments": deployments(),
        "routing": {"models": [{"model": "gpt-4o", "deployments": weighted}]},
    }
