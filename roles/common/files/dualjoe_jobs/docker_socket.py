"""Docker's own interface, for what its command line cannot be told without showing it to every process."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .job import JobFailed

SOCKET = Path("/var/run/docker.sock")
_SECONDS = 60


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_SECONDS)
        self.sock.connect(str(self._path))


def post(path: str, body: Mapping[str, Any], at: Path | None = None) -> dict[str, Any]:
    """Send a request and return what Docker answers. Raises JobFailed, with Docker's own words."""
    at = at or SOCKET
    connection = _Connection(at)
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer: dict[str, Any] = json.loads(response.read() or b"{}")
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise JobFailed(f"docker does not answer at {at}: {error}") from error
    finally:
        connection.close()
    if response.status >= 400:
        raise JobFailed(f"docker refuses: {answer.get('message', response.reason)}")
    return answer
