"""Server-sent events, read as providers really send them.

Source: WHATWG HTML, section 9.2 (event streams); FAILURES A07, A11. Comments and keep-alives are dropped; a line of
bare JSON inside a stream is an error tail some servers send.
"""

from __future__ import annotations

from collections.abc import Iterator


class EventReader:
    """Turns arriving bytes into the data of complete events; keeps at most ``limit`` bytes of an unfinished one."""

    __slots__ = ("_buffer", "_held", "_limit", "_lines")

    def __init__(self, limit: int) -> None:
        self._buffer = b""
        self._lines: list[bytes] = []
        self._held = 0
        self._limit = limit

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The data of each event completed by these bytes; raises ``ValueError`` when one grows beyond the limit."""
        buffer = self._buffer + data if self._buffer else data
        lines = buffer.split(b"\n")
        self._buffer = lines.pop()
        if len(self._buffer) + self._held > self._limit:
            raise ValueError("an event is too large")
        for raw in lines:
            line = raw.removesuffix(b"\r")
            if not line:
                if self._lines:
                    yield self._finish()
            elif line.startswith(b"data:"):
                self._lines.append(line[6:] if line[5:6] == b" " else line[5:])
                self._held += len(line)
            elif line.startswith(b"{"):
                yield line

    @property
    def rest(self) -> bytes:
        """What came after the last whole line: some servers end with a bare JSON error and no line break."""
        return self._buffer

    def _finish(self) -> bytes:
        event = self._lines[0] if len(self._lines) == 1 else b"\n".join(self._lines)
        self._lines.clear()
        self._held = 0
        return event
