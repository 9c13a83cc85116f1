"""Which client reaches which provider; each is made when it is first needed."""

from __future__ import annotations

from backend.settings.knobs import OPENAI_COMPATIBLE
from backend.upstream.built_in_client import BuiltInClient, Embed
from backend.upstream.litellm_client import LiteLLMClient
from backend.upstream.openai_client import OpenAIClient
from backend.upstream.request import Client
from backend.upstream.simulated import SimulatedClient


class Clients:
    """One client per kind of wire and worker."""

    def __init__(self, embed: Embed) -> None:
        self._built_in = BuiltInClient(embed)
        self._openai = OpenAIClient()
        self._litellm = LiteLLMClient()
        self._simulated = SimulatedClient()

    def find(self, provider: str) -> Client:
        """The client for a provider; those that do not speak OpenAI's wire go through LiteLLM."""
        if provider == "simulated":
            return self._simulated
        if provider == "built-in":
            return self._built_in
        return self._openai if provider in OPENAI_COMPATIBLE else self._litellm

    async def close(self) -> None:
        """Close pooled connections."""
        await self._openai.close()
