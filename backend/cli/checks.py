"""What the doctor looks at on the machine itself: Python, SQLite, the data folder, secrets."""

from __future__ import annotations

import os
import platform
import shutil
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from backend.environment import Environment

LEAST_PYTHON = (3, 11)
LEAST_FREE_MB = 512
OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: ``wrong`` keeps Governor from working as it should, a ``note`` does not."""

    check: str
    verdict: Literal["ok", "note", "wrong"]
    text: str


def check_python() -> Iterator[Finding]:
    """Whether the interpreter is new enough."""
    wanted = ".".join(map(str, LEAST_PYTHON))
    good = sys.version_info >= LEAST_PYTHON
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    yield Finding("python", "ok" if good else "wrong", text if good else f"{text}; {wanted} or newer is needed")


def check_sqlite() -> Iterator[Finding]:
    """Whether several processes may share a WAL database with the SQLite at hand."""
    from db.engine import WAL_FIXED_IN, sqlite_module, wal_is_safe

    module = sqlite_module()
    text = f"{module.sqlite_version} ({module.__name__.partition('.')[0]})"
    if wal_is_safe():
        yield Finding("sqlite", "ok", f"{text}, WAL is safe")
    else:
        fixed = ".".join(map(str, WAL_FIXED_IN))
        yield Finding("sqlite", "note", f"{text} is older than {fixed}: WAL is off, so the console reads more slowly")


def check_folder(environment: Environment) -> Iterator[Finding]:
    """Whether the data folder can be written and has room."""
    folder = environment.data_dir.resolve()
    home = next(each for each in (folder, *folder.parents) if each.exists())
    if not os.access(home, os.W_OK | os.X_OK):
        yield Finding("data", "wrong", f"{home} cannot be written by this user")
        return
    free_mb = shutil.disk_usage(home).free // 1_000_000
    text = f"{folder}{'' if folder.exists() else ' (not made yet)'}, {free_mb:,} MB free"
    roomy = free_mb >= LEAST_FREE_MB
    yield Finding("data", "ok" if roomy else "wrong", text if roomy else f"{text}; below {LEAST_FREE_MB} MB calls fail")


def check_secrets(environment: Environment) -> Iterator[Finding]:
    """Whether secrets are long enough and readable by their owner alone."""
    for path in _secret_files(environment):
        if path.exists() and path.stat().st_mode & OTHERS:
            yield Finding("secrets", "wrong", f"{path} can be read by others: chmod 600 {path}")
        elif path.exists():
            yield Finding("secrets", "ok", f"{path} is readable by its owner alone")
    admin = environment.admin_key
    if admin is not None and len(admin.get_secret_value()) < 16:
        yield Finding("secrets", "wrong", "GOVERNOR_ADMIN_KEY is shorter than 16 characters")


def _secret_files(environment: Environment) -> Iterator[Path]:
    yield environment.data_dir / "secret.key"
    for name in ("SECRET", "ADMIN_KEY", "CONSOLE_PASSWORD", "DATABASE_URL", "REDIS_URL"):
        path = os.environ.get(f"GOVERNOR_{name}_FILE")
        if path:
            yield Path(path)
