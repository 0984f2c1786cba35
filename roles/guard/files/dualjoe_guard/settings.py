"""The guard's settings: one JSON file, checked as a whole."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from dualjoe.health import Limits
from dualjoe.lease import SECOND
from dualjoe.telegram import Chat


class BadSettings(Exception):
    """The file cannot be used; one line per mistake."""


@dataclass(frozen=True)
class Settings:
    """Everything in seconds unless the name says otherwise."""

    node: str
    peer: str
    peer_address: str
    peer_port: int
    account: str
    unit: str
    url: str
    state_dir: str
    stop_seconds: float
    limits: Limits
    health_deadline_seconds: float
    peer_interval_seconds: float
    sync_seconds: float
    publish_seconds: float
    ttl_seconds: float
    margin_seconds: float
    free_bytes: int
    pair: str
    witness_silent_seconds: float
    reminder_seconds: float
    telegram: Chat | None = None
    runbook_url: str = ""
    root: Path = Path("/var/lib/dualjoe")
    etc: Path = Path("/etc/dualjoe")
    socket: Path = Path("/run/dualjoe/guard.sock")

    @property
    def stop_ns(self) -> int:
        return round(self.stop_seconds * SECOND)

    @property
    def promise_left_seconds(self) -> float:
        """A lease of which so little is left has missed a renewal: half of the time until its stop would begin. Two
        heartbeats fit into that time (see ``dualjoe.timing``), so that in good times nobody asks."""
        return (self.ttl_seconds + self.stop_seconds) / 2

    @property
    def promise_interval_seconds(self) -> float:
        """How often that is looked at: often enough that the answer comes before the stop, also with a short lease."""
        return min(1.0, (self.ttl_seconds - self.stop_seconds) / 10)


_OPTIONAL = {"limits", "telegram", "runbook_url"}
_TYPES: dict[str, type | tuple[type, ...]] = {"str": str, "int": int, "float": (int, float)}


def load(path: Path) -> Settings:
    """Read and check the file at ``path``. Raises BadSettings with every mistake in it."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadSettings(f"{path}: {error}") from error
    if not isinstance(raw, dict):
        raise BadSettings(f"{path}: must hold a JSON object")
    return parse(raw, str(path))


def parse(raw: dict[str, Any], where: str = "settings") -> Settings:
    """Check decoded settings. Raises BadSettings."""
    mistakes = []
    limits_raw = raw.get("limits", {})
    apart = ("limits", "telegram", "runbook_url", "root", "etc", "socket")
    kinds = {f.name: str(f.type) for f in fields(Settings) if f.name not in apart}
    for name, kind in kinds.items():
        mistakes += _check(raw, name, kind, f"{where}: {name}")
    limit_kinds = {f.name: str(f.type) for f in fields(Limits)}
    for name in limits_raw:
        if name in limit_kinds:
            mistakes += _check(limits_raw, name, limit_kinds[name], f"{where}: limits.{name}")
        else:
            mistakes.append(f"{where}: limits.{name}: unknown")
    mistakes += [f"{where}: {name}: unknown" for name in sorted(set(raw) - set(kinds) - _OPTIONAL)]
    chat = raw.get("telegram")
    if chat is not None:
        for name in ("api_base", "token_file", "chat_id"):
            mistakes += _check(chat, name, "str", f"{where}: telegram.{name}")
        if not str(chat.get("api_base")).startswith(("http://", "https://")):
            mistakes.append(f"{where}: telegram.api_base: must begin with https:// or http://")
    if mistakes:
        raise BadSettings("\n".join(mistakes))
    return Settings(
        limits=Limits(**limits_raw),
        telegram=None if chat is None else Chat(chat["api_base"], Path(chat["token_file"]), chat["chat_id"]),
        runbook_url=str(raw.get("runbook_url", "")),
        **{name: raw[name] for name in kinds},
    )


def _check(raw: dict[str, Any], name: str, kind: str, where: str) -> list[str]:
    value = raw.get(name)
    if value is None:
        return [f"{where}: missing"]
    if isinstance(value, bool) or not isinstance(value, _TYPES[kind]):
        return [f"{where}: must be a {'text' if kind == 'str' else 'number'}"]
    if kind == "str" and not value:
        return [f"{where}: must not be empty"]
    if isinstance(value, (int, float)) and value <= 0:
        return [f"{where}: must be above 0"]
    return []
