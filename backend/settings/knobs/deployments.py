"""Deployments: which provider answers for a model, where, with whose credential, at what price."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from backend.settings.knobs.section import Section, knob


def _check_plain_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ValueError("must be http(s)://host[:port]/path without user, query or fragment")
    return value.rstrip("/")


PlainUrl = Annotated[str, AfterValidator(_check_plain_url)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}$")]
EnvironmentName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
Rate = Annotated[Decimal, Field(ge=0, le=1_000_000, max_digits=18, decimal_places=9)]

OPENAI_COMPATIBLE = frozenset(
    {"openai", "vllm", "tgi", "ollama", "sglang", "lmstudio", "llamacpp", "openai-compatible"}
)
"""Providers reached over OpenAI's own wire by the pooled HTTP client; every other goes through LiteLLM."""


class PriceOverride(Section):
    """What this deployment really costs, in US dollars per million tokens; it wins over the price table."""

    input: Rate = Field(title="Input", description="Dollars per million uncached prompt tokens.")
    output: Rate = Field(title="Output", description="Dollars per million completion tokens.")
    cache_read: Rate | None = knob(None, "Cache read", "Dollars per million cached prompt tokens.")
    cache_write: Rate | None = knob(None, "Cache write", "Dollars per million tokens written to a prefix cache.")
    reasoning: Rate | None = knob(None, "Reasoning", "Dollars per million reasoning tokens; output rate when empty.")


class Simulation(Section):
    """How the simulated provider behaves; deterministic for a given prompt."""

    ttft_ms: float = knob(40.0, "Time to first token", "Median milliseconds to the first token.", ge=0, le=60_000)
    tokens_per_s: float = knob(120.0, "Speed", "Completion tokens per second.", gt=0, le=1_000_000)
    completion_tokens: int = knob(48, "Answer length", "Median completion tokens.", ge=1, le=100_000)
    error_rate: float = knob(0.0, "Error rate", "Share of calls that fail with 500.", ge=0, le=1)


class Deployment(Section):
    """One way to get an answer: a provider's model with its address, credential, price and limits."""

    name: Name = Field(title="Name", description="Unique name of the deployment.")
    model: Name | Literal["*"] = Field(title="Model", description="Model name callers ask for; * answers to any.")
    provider: Name = Field(
        "openai", title="Provider", description="openai, vllm, anthropic …, built-in (embeddings), simulated."
    )
    upstream_model: str | None = Field(
        None, title="Upstream model", description="Name sent on; the asked one if empty."
    )
    base_url: PlainUrl | None = Field(None, title="Address", description="URL up to and including /v1.")
    api_key_env: EnvironmentName | None = Field(
        None, title="Credential", description="Environment variable that holds the key."
    )
    weight: int = Field(
        1, ge=0, le=10_000, title="Weight", description="Share of its model's traffic; 0 = fallback only."
    )
    price_model: str | None = Field(None, title="Price as", description="Model of the price table to bill as.")
    price: PriceOverride | None = Field(None, title="Price", description="Overrides the price table.")
    max_parallel: int | None = Field(
        None, ge=1, le=100_000, title="Parallel calls", description="Most calls in flight from one gateway worker."
    )
    queue_s: float = knob(
        0.0,
        "Queue time",
        "Longest wait for a free place, in seconds; then, or at 0, the next deployment.",
        ge=0,
        le=600,
    )
    max_queued: int = knob(1000, "Queue length", "Most calls that wait for a place at once.", ge=1, le=100_000)
    on_disconnect: Literal["abort", "drain"] = Field(
        "abort", title="On disconnect", description="Abort the upstream call, or read on to its usage."
    )
    simulation: Simulation | None = Field(None, title="Simulation", description="For the simulated provider only.")

    @model_validator(mode="after")
    def _address_is_known(self) -> Deployment:
        if self.base_url is None and self.provider in OPENAI_COMPATIBLE - {"openai"}:
            raise ValueError(f"deployment {self.name}: provider {self.provider} needs a base_url")
        if self.simulation is not None and self.provider != "simulated":
            raise ValueError(f"deployment {self.name}: only the simulated provider takes a simulation")
        return self


def simulated(model: str, ttft_ms: float, tokens_per_s: float) -> Deployment:
    """A simulated deployment that imitates the latency and the price of a well-known model."""
    simulation = Simulation(ttft_ms=ttft_ms, tokens_per_s=tokens_per_s)
    return Deployment(name=f"simulated-{model}", model=model, provider="simulated", simulation=simulation)


def default_deployments() -> tuple[Deployment, ...]:
    """What answers before anything is configured: the simulated provider under well-known model names."""
    speeds = [
        ("gpt-4o-mini", 320.0, 95.0),
        ("gpt-4o", 420.0, 80.0),
        ("gpt-4.1", 450.0, 75.0),
        ("gpt-4.1-mini", 350.0, 90.0),
        ("claude-sonnet-4-5", 650.0, 65.0),
        ("claude-haiku-4-5", 380.0, 120.0),
        ("gemini-2.5-flash", 300.0, 180.0),
        ("text-embedding-3-small", 60.0, 10_000.0),
    ]
    return tuple(simulated(*speed) for speed in speeds)
