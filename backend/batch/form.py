"""An upload as browsers and SDKs send it: multipart/form-data, read in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from python_multipart import FormParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from backend.errors import BadRequest

_MOST_FIELDS = 32
_MOST_FIELD_BYTES = 64 * 1024


@dataclass(slots=True)
class Form:
    """Fields by name, and the file with the name it was sent under."""

    fields: dict[str, str] = field(default_factory=dict)
    filename: str = "upload"
    content: bytes | None = None
    whole: bool = False
    """Whether the last boundary came."""

    def end(self) -> None:
        """The last boundary came."""
        self.whole = True


def read_form(content_type: bytes, body: bytes) -> Form:
    """The form in a body; raises ``BadRequest``."""
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise BadRequest("Send the file as multipart/form-data with a boundary.")
    form = Form()
    parser = FormParser(
        "multipart/form-data",
        lambda part: _note_field(form, part),
        lambda part: _note_file(form, part),
        form.end,
        boundary=boundary,
        config={
            "MAX_MEMORY_FILE_SIZE": len(body) + 1,
            "MAX_FIELD_SIZE": _MOST_FIELD_BYTES,
        },
    )
    try:
        parser.write(body)
        parser.finalize()
    except (FormParserError, ValueError):
        raise BadRequest("The body is not valid multipart/form-data.") from None
    if not form.whole:
        raise BadRequest("The form breaks off before its last boundary.")
    return form


def _note_field(form: Form, part: Any) -> None:
    if len(form.fields) >= _MOST_FIELDS:
        raise FormParserError("too many fields")
    name, value = part.field_name or b"", part.value or b""
    form.fields[name.decode(errors="replace")] = value.decode(errors="replace")


def _note_file(form: Form, part: Any) -> None:
    if part.field_name == b"file":
        form.filename = (part.file_name or b"upload").decode(errors="replace")
        part.file_object.seek(0)
        form.content = part.file_object.read()
    part.close()
