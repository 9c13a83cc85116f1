"""What the doctor looks at in the installed packages: releases known as malicious, files that run at every start."""

from __future__ import annotations

import site
import sysconfig
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path

from backend.cli.checks import Finding

MALICIOUS = {"1.82.7", "1.82.8"}
"""Releases of litellm that carried a credential stealer (advisory MAL-2026-2144)."""

_RUNS = ("import ", "import\t")


def check_litellm() -> Iterator[Finding]:
    """Whether the installed litellm is one that was taken over."""
    try:
        found = version("litellm")
    except PackageNotFoundError:
        yield Finding("litellm", "note", "not installed: only OpenAI-compatible and simulated deployments can answer")
        return
    if found in MALICIOUS:
        yield Finding(
            "litellm", "wrong", f"{found} is malicious (MAL-2026-2144): remove it and change every credential"
        )
    else:
        yield Finding("litellm", "ok", found)


def check_path_files() -> Iterator[Finding]:
    """Whether a ``.pth`` file runs code at every start of Python without belonging to an installed package."""
    owned = _owned_path_files()
    strays = [path for path in find_path_files() if path.name not in owned and runs_code(path)]
    for path in strays:
        yield Finding("packages", "wrong", f"{path} runs code at every start of Python and belongs to no package")
    if not strays:
        yield Finding("packages", "ok", "no unexpected .pth file")


def find_path_files() -> Iterator[Path]:
    """Every ``.pth`` file that Python reads at start."""
    folders = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    if site.ENABLE_USER_SITE:
        folders.add(site.getusersitepackages())
    for folder in sorted(folders):
        yield from sorted(Path(folder).glob("*.pth"))


def runs_code(path: Path) -> bool:
    """Whether a ``.pth`` file does more than name folders."""
    try:
        return any(line.startswith(_RUNS) for line in path.read_text(errors="replace").splitlines())
    except OSError:
        return True


def _owned_path_files() -> set[str]:
    return {
        file.name for distribution in distributions() for file in distribution.files or () if file.name.endswith(".pth")
    }
