"""Headers of every answer: the page loads and runs nothing but the console's own files."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import streamlit as st

_INLINE = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def _hashes() -> Iterator[str]:
    """The inline scripts of Streamlit's own start page, by which the policy knows them."""
    index = Path(st.__file__).parent / "static" / "index.html"
    for script in _INLINE.findall(index.read_text()) if index.exists() else ():
        yield f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


CONTENT_POLICY = "; ".join(
    (
        "default-src 'self'",
        f"script-src 'self' 'wasm-unsafe-eval' {' '.join(_hashes())}".rstrip(),
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "frame-ancestors 'self'",
    )
)
HEADERS = [
    (b"content-security-policy", CONTENT_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
]
