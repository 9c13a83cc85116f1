"""What a process needs to start: addresses, folders, secrets. Read once, never changed live."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

Port = Annotated[int, Field(ge=1, le=65535)]


class Environment(BaseSettings):
    """Environment variables with the prefix ``GOVERNOR_``; ``GOVERNOR_X_FILE`` reads the value of X from a file."""

    model_config = SettingsConfigDict(
        env_prefix="GOVERNOR_", frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True
    )

    data_dir: Path = Field(Path(".governor"), description="Folder of the database, the spool and the secret.")
    database_url: str | None = Field(None, description="SQLAlchemy URL; SQLite in the data folder when absent.")
    redis_url: str | None = Field(None, description="Redis for the shared exact cache; SQLite when absent.")
    workers: int = Field(1, ge=1, le=64, description="Gateway worker processes.")
    gateway_host: str = Field("127.0.0.1", description="Address the gateway binds; others than loopback need a key.")
    gateway_port: Port = Field(4000, description="Port of the gateway.")
    console_host: str = Field("127.0.0.1", description="Address the console binds.")
    console_port: Port = Field(8501, description="Port of the console.")
    console_password: SecretStr | None = Field(None, description="Password of the console; none: loopback only.")
    admin_key: SecretStr | None = Field(None, min_length=16, description="Key for the control endpoints.")
    secret: SecretStr | None = Field(None, description="Secret behind the key hashes; made in the data folder.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")
    drain_deadline_s: float = Field(20.0, gt=0, le=600, description="Longest wait for open calls at shutdown, seconds.")

    @property
    def database(self) -> str:
        """The database URL in force."""
        return self.database_url or f"sqlite:///{self.data_dir / 'governor.db'}"

    @property
    def spool_dir(self) -> Path:
        """Folder of this machine's spool segments."""
        return self.data_dir / "spool"

    def key_secret(self) -> bytes:
        """The secret behind key hashes: from the environment, else created once in the data folder (mode 0600)."""
        if self.secret is not None:
            return self.secret.get_secret_value().encode()
        return _file_secret(self.data_dir / "secret.key")


def _file_secret(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    if not path.exists():
        draft.write_text(secrets.token_hex(32))
        draft.chmod(0o600)
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    return path.read_bytes().strip()


def read_environment() -> Environment:
    """The environment of this process; raises ``ValueError`` naming the variable that is wrong."""
    for name in Environment.model_fields:
        variable = f"GOVERNOR_{name.upper()}"
        path = os.environ.get(f"{variable}_FILE")
        if path and variable not in os.environ:
            os.environ[variable] = Path(path).read_text().strip()
    return Environment()
