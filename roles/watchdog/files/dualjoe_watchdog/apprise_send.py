"""Send one message by Apprise: ``python3 -I apprise_send.py``, with {"url": ..., "text": ...} on stdin.

A process of its own, so that a service that hangs, fails or logs its address does no harm to the watch. Exit codes: 0
taken, 1 not taken, 2 Apprise knows no such address. It prints nothing, as all that could be said may hold the address.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings

TAKEN, NOT_TAKEN, UNKNOWN = 0, 1, 2


def main() -> int:
    """See above; with no "text" it only looks whether the address is one."""
    logging.disable()
    warnings.simplefilter("ignore")
    import apprise  # noqa: PLC0415 - it takes long, and what it says of itself is silenced first

    asked = json.load(sys.stdin)
    service = apprise.Apprise.instantiate(asked["url"])
    if service is None:
        return UNKNOWN
    if asked.get("text") is None:
        return TAKEN
    service.overflow_mode = apprise.OverflowMode.SPLIT  # in parts, where a service takes less: nothing is cut
    services = apprise.Apprise()
    services.add(service)
    taken = services.notify(body=asked["text"], body_format=apprise.NotifyFormat.TEXT)
    return TAKEN if taken else NOT_TAKEN


if __name__ == "__main__":
    sys.exit(main())
