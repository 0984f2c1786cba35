"""Tell systemd how a service is doing."""

from __future__ import annotations

import os
import socket


def notify(*lines: str) -> None:
    """Send lines such as ``READY=1`` to the service manager; without one, do nothing.

    The protocol is one datagram of newline-separated assignments to ``$NOTIFY_SOCKET`` (sd_notify(3)).
    """
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.sendto("\n".join(lines).encode(), address)
