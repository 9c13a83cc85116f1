"""a scripted OpenAI-compatible server whose model name decides how it misbehaves."""

from tests.faults.upstream.journal import UpstreamJournal, read_upstream_journal
from tests.faults.upstream.server import Upstream

__all__ = ["Upstream", "UpstreamJournal", "read_upstream_journal"]
