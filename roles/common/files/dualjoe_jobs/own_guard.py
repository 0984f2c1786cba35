"""Ask this node's own guard."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dualjoe import wire

from .job import JobFailed

SOCKET = "/run/dualjoe/guard.sock"
_SECONDS = 10.0

Probe = Callable[[], Mapping[str, Any]]


def probe() -> Mapping[str, Any]:
    """The guard's answer to `probe`: role, term, epoch and more. Raises JobFailed."""
    return ask(wire.request("probe"))


def ask(request: dict[str, Any]) -> Mapping[str, Any]:
    """The guard's answer. Raises JobFailed, also where the guard refuses."""
    try:
        reply = wire.ask_socket(SOCKET, request, _SECONDS)
    except wire.WireError as error:
        raise JobFailed(f"the guard does not answer ({error}); look at journalctl -u dualjoe-guard") from error
    if reply.get("ok") is not True:
        raise JobFailed(f"the guard refuses: {reply.get('message')}")
    return reply
