"""Runs inside a machine: looks at the gateway's /readyz twenty times a second and prints every change.

A line is the host's clock in seconds and 1 (ready) or 0. What became unready is dated by when the look began, what
became ready by when the answer was there. Standard library only.
"""

from __future__ import annotations

import http.client
import select
import sys
import time

LOOK_SECONDS = 0.05


def ready(port: int) -> bool:
    """Whether the gateway says so now."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def main() -> None:
    """Look until the input ends."""
    before: bool | None = None
    ended = False
    while not ended:
        began = time.time()
        now = ready(int(sys.argv[1]))
        if now != before:
            print(f"{time.time() if now else began:.6f} {int(now)}", flush=True)
            before = now
        ended = bool(select.select([sys.stdin], [], [], max(0.0, began + LOOK_SECONDS - time.time()))[0])


if __name__ == "__main__":
    main()
