"""What the doctor looks at in the installed packages: releases known as malicious, files that run at every start."""

from __future__ import annotations

import site
import sysconfig
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from backend.cli.checks import Finding
from backend.cli.output import CommandFailed

MALICIOUS = {"1.82.7", "1.82.8"}
"""Releases of litellm that carried a credential stealer (advisory MAL-2026-2144)."""

KNOWN = (
    "distutils-precedence.pth",
    "_virtualenv.pth",
    "__editable__*.pth",
    "*-nspkg.pth",
    "a1_coverage.pth",
    "pytest-cov.pth",
)
"""Files of setuptools, virtualenv, editable installs, namespace packages and coverage; all of them run code."""

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
    """Whether a ``.pth`` file runs code at every start of Python that is not one of the few known to.

    Belonging to an installed package excuses nothing: the stealer in litellm came as a file of its wheel.
    """
    strays = [path for path in find_path_files() if runs_code(path) and not is_known(path)]
    for path in strays:
        yield Finding("packages", "wrong", f"{path} runs code at every start of Python; remove it, or what brought it")
    if not strays:
        yield Finding("packages", "ok", "no unexpected .pth file")


def refuse_tampered_packages() -> None:
    """Raises ``CommandFailed`` when the installed packages are ones to stay away from."""
    for finding in (*check_litellm(), *check_path_files()):
        if finding.verdict == "wrong":
            raise CommandFailed(f"Not started: {finding.check} {finding.text}")


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


def is_known(path: Path) -> bool:
    """Whether the file is one that packaging tools and coverage put there."""
    return any(fnmatch(path.name, pattern) for pattern in KNOWN)
