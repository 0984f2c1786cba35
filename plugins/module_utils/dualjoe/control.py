"""The client of the watchdog's control socket on T440: one request line, any number of event lines, one final line."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from . import wire

SOCKET = "/run/dualjoe/watchdog.sock"
_LONGEST = 64 * wire.MAX_LINE_BYTES  # a status holds what both nodes tell, and what was made of it


class ControlError(Exception):
    """The watchdog could not be asked; the message says what to look at."""


def ask(
    command: str,
    *,
    path: str = SOCKET,
    timeout: float = 30,
    on_event: Callable[[dict[str, Any]], None] | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """Ask for ``command``; events go to ``on_event`` as they come. Returns the final line.

    ``timeout`` (seconds) bounds the wait for each line. Raises ControlError.
    """
    request = {"v": wire.VERSION, "command": command, **fields}
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
            channel.settimeout(timeout)
            channel.connect(path)
            channel.sendall(wire.encode(request))
            with channel.makefile("rb") as lines:
                while True:
                    line = wire.decode(lines.readline(_LONGEST + 1), _LONGEST)
                    if "event" not in line:
                        return line
                    if on_event is not None:
                        on_event(line["event"])
    except PermissionError as error:
        raise ControlError(f"{path}: only root and members of group dualjoe may ask the watchdog") from error
    except (OSError, wire.WireError) as error:
        detail = getattr(error, "strerror", None) or str(error)
        raise ControlError(
            f"the watchdog does not answer at {path} ({detail}); look at 'journalctl -u dualjoe-watchdog'"
        ) from error
