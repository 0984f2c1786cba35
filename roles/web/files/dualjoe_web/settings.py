"""The web page's settings: one JSON file, checked as a whole before anything is served."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Hash = Annotated[str, Field(pattern=r"^\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}$")]


class BadSettings(Exception):
    """The file cannot be used; one line per mistake, each with its path."""


class Settings(BaseModel):
    """Where the page is served, to whom, and what it may do.

    ``certificate`` and ``key``: files of PEM, seen from the folder of this one. ``users``: bcrypt hashes of passwords,
    by the user's name. ``action_token_sha256``: of the token that pauses and moves need, as hexadecimal digits; None:
    the page only shows.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: str = "127.0.0.1"
    port: int = Field(default=8440, ge=1, le=65535)
    behind_proxy: bool = False
    certificate: Path | None = None
    key: Path | None = None
    users: dict[str, Hash] = {}
    action_token_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    socket: str = "/run/dualjoe/watchdog.sock"

    @property
    def on_loopback(self) -> bool:
        return ipaddress.ip_address(self.address).is_loopback

    @property
    def tls(self) -> bool:
        return self.certificate is not None and self.key is not None


def load(path: Path) -> Settings:
    """Read and check the file at ``path``. Raises BadSettings with every mistake in it."""
    try:
        settings = Settings.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        lines = [f"{path}: {'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors()]
        raise BadSettings("\n".join(lines)) from None  # the original would print the values
    except (OSError, ValueError) as error:
        raise BadSettings(f"{path}: {error}") from error
    if found := [f"{path}: {mistake}" for mistake in _mistakes(settings)]:
        raise BadSettings("\n".join(found))
    files = {name: path.parent / file for name in ("certificate", "key") if (file := getattr(settings, name))}
    return settings.model_copy(update=files)


def _mistakes(settings: Settings) -> list[str]:
    try:
        opened = not settings.on_loopback
    except ValueError:
        return [f"address: {settings.address!r} is no IP address"]
    found = []
    if (settings.certificate is None) != (settings.key is None):
        found.append("certificate and key are both needed, or neither")
    if opened and not settings.behind_proxy and not (settings.tls and settings.users):
        found.append(
            f"address: {settings.address} is not this machine alone: set certificate, key and users, or behind_proxy"
            " where a proxy sees to both"
        )
    if any(":" in name or not name for name in settings.users):
        found.append("users: a name is not empty and has no colon")
    return found
