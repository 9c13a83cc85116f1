"""The gateway's side of the ledger: a call is durable before it goes upstream, and closed exactly once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable

from backend.call import Attempt, Entry
from backend.errors import LedgerUnavailable
from backend.ledger.records import PROBE, encode_close, encode_dispatch, encode_label, encode_payload
from backend.ledger.room import CHECK_EVERY_S, Room
from backend.ledger.spool import Spool
from backend.settings.knobs import LedgerSettings
from db.cache_labels import Label

MOST_KEPT_BYTES = 64 * 1024 * 1024
REDACTION_MARGIN = 4096
"""Bytes kept beyond the largest payload, so that a pattern at the cut is still recognised by the drainer."""

log = logging.getLogger("governor.ledger")


class Ledger:
    """Writes calls to this worker's spool; everything but ``durable`` is synchronous and takes microseconds."""

    def __init__(self, spool: Spool, settings: Callable[[], LedgerSettings]) -> None:
        self.worker = spool.worker
        self._spool = spool
        self._settings = settings
        self._room = Room(spool.folder, settings)
        self._kept: deque[bytes] = deque()
        self._kept_bytes = 0
        self._refused = False
        self._retry_at = 0.0
        self._synced = 0
        self._syncing: asyncio.Future[None] | None = None

    def dispatching(self, entry: Entry, attempt: Attempt) -> None:
        """Make the call and this attempt durable before anything goes upstream.

        Raises ``LedgerUnavailable`` when there is no room or the write fails; then nothing may be sent.
        """
        self._refuse_without_room()
        try:
            self._spool.append(encode_dispatch(entry, attempt))
        except OSError as error:
            self._refuse_for_now(error)
            raise _unavailable("the record could not be written") from error
        entry.dispatched = True

    def record(self, entry: Entry) -> None:
        """Close the call with all its attempts, and keep its bodies where capture is on. Never raises, never waits.

        What the disk refuses stays in memory and is tried again; meanwhile ``can_record`` is false.
        """
        try:
            self._keep(encode_close(entry))
            settings = self._settings()
            if entry.payload is not None and settings.capture:
                self._keep(encode_payload(entry, settings.capture_max_kb * 1024 + REDACTION_MARGIN))
        except Exception:  # the caller is a `finally` that must not fail; the open row still says that there was a call
            log.exception("a call could not be closed in the ledger: %s", entry.id)

    def label(self, label: Label) -> None:
        """Keep a verdict on a semantic hit. Never raises, never waits; what the disk refuses is tried again."""
        try:
            self._keep(encode_label(label))
        except Exception:  # evidence for later hits: no call may fail for it
            log.exception("a label could not be written: %r", label)

    def can_record(self) -> bool:
        """Whether a new call could be recorded now; cheap enough for every call."""
        return self._lack() is None

    async def durable(self) -> None:
        """Wait until all that was appended so far survives a power cut, where that is asked for.

        Calls that wait at the same time share one fsync, made in a thread.
        """
        if self._settings().durability == "process":
            return
        wanted = self._spool.written
        while self._synced < wanted:
            if self._syncing is None:
                self._syncing = asyncio.ensure_future(self._sync())
                self._syncing.add_done_callback(_notice)
            await asyncio.shield(self._syncing)

    def close(self) -> None:
        """Write what is still kept in memory, then give the spool up."""
        self._write_kept()
        if self._kept:
            log.critical("%d records were lost: the disk refused them to the end", len(self._kept))
        self._spool.close()

    async def _sync(self) -> None:
        covered = self._spool.written
        try:
            await asyncio.to_thread(self._spool.sync)
        except OSError as error:
            raise _unavailable("the record could not be brought to the disk") from error
        finally:
            self._syncing = None
        self._synced = covered

    def _refuse_without_room(self) -> None:
        lack = self._lack()
        if lack is not None:
            raise _unavailable(lack)

    def _lack(self) -> str | None:
        if self._refused:
            if not self._kept:
                self._push(PROBE)
            self._write_when_due()
        if self._refused:
            return "earlier records could not be written yet"
        return self._room.lack()

    def _keep(self, content: bytes) -> None:
        if self._kept_bytes + len(content) > MOST_KEPT_BYTES:
            log.critical("a record was lost: the disk refuses records and memory for them is full")
            return
        self._push(content)
        self._write_when_due()

    def _push(self, content: bytes) -> None:
        self._kept.append(content)
        self._kept_bytes += len(content)

    def _write_when_due(self) -> None:
        if not self._refused or time.monotonic() >= self._retry_at:
            self._write_kept()

    def _write_kept(self) -> None:
        try:
            while self._kept:
                self._spool.append(self._kept[0])
                self._kept_bytes -= len(self._kept.popleft())
        except OSError as error:
            self._refuse_for_now(error)
            return
        if self._refused:
            log.warning("the disk takes records again")
        self._refused = False

    def _refuse_for_now(self, error: OSError) -> None:
        self._retry_at = time.monotonic() + CHECK_EVERY_S
        if not self._refused:
            log.error("the disk refuses records; they wait in memory (%s)", error.strerror)
        self._refused = True


def _notice(syncing: asyncio.Future[None]) -> None:
    """Take note of a failed sync even when every call that waited for it has been cancelled."""
    if not syncing.cancelled() and syncing.exception() is not None:
        log.critical("%s", syncing.exception())


def _unavailable(reason: str) -> LedgerUnavailable:
    return LedgerUnavailable(f"The call was not made because it could not be recorded: {reason}.", retry_after_ms=1000)
