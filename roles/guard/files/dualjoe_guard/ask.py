"""The forced command of the lease keys: hand one line to the guard, hand its one line back.

The caller's name is an argument that the key's forced command fixes; whatever name a line claims is overwritten.
"""

from __future__ import annotations

import sys

from dualjoe import wire

SOCKET = "/run/dualjoe/guard.sock"
TIMEOUT_SECONDS = 400.0  # a sync may take 300 s; the asker has its own, shorter limits


def main() -> int:
    """Exit 0 when a reply was passed on, whatever it says; 1 otherwise."""
    if len(sys.argv) != 2 or sys.argv[1] not in wire.VERBS_OF:
        print(f"usage: dualjoe-ask {'|'.join(sorted(wire.VERBS_OF))}", file=sys.stderr)
        return 1
    try:
        message = wire.decode(sys.stdin.buffer.readline(wire.MAX_LINE_BYTES + 1))
        message["as"] = sys.argv[1]
        reply = wire.ask_socket(SOCKET, message, TIMEOUT_SECONDS)
    except wire.WireError as error:
        reply = wire.Refused("guard_unreachable", str(error)).reply()
    sys.stdout.buffer.write(wire.encode(reply))
    return 0
