"""An environment of its own for a peer: installed from locked requirements, once."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.rig.process import ROOT


def install(peer: str) -> Path:
    """Make the environment of ``requirements/bench-PEER.txt`` unless it is there already; its folder of programs."""
    wanted = (ROOT / "requirements" / f"bench-{peer}.txt").read_text()
    venv = ROOT / f".venv-bench-{peer}"
    stamp = venv / "installed.txt"
    if stamp.exists() and stamp.read_text() == wanted:
        return venv / "bin"
    shutil.rmtree(venv, ignore_errors=True)
    print(f"installing {peer} into {venv.name} …", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    pip = [str(venv / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    requirements = str(ROOT / "requirements" / f"bench-{peer}.txt")
    subprocess.run([*pip, "--require-hashes", "-r", requirements], check=True)
    stamp.write_text(wanted)
    return venv / "bin"
