"""The command `dualjoe epoch reset`: have this node's guard go on after its epoch file was lost or broken."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from dualjoe import wire

from . import own_guard
from .job import DONE


def main(argv: Sequence[str] | None = None) -> int:
    """The command, for root. Raises JobFailed."""
    parser = argparse.ArgumentParser(
        prog="dualjoe epoch reset",
        description="Go on after this node's epoch file was lost or broken. For root; refused where the file is well.",
        epilog="Exit codes: 0, or 1 if the guard refuses or is silent.",
    )
    parser.add_argument(
        "--epoch", type=int, required=True, metavar="N", help="the epoch that 'dualjoe status' on T440 shows"
    )
    told = own_guard.ask(wire.request("reset", epoch=parser.parse_args(argv).epoch))
    left = told["promise_left"]
    print(f"epoch {told['epoch']} is stored" + (f", and {told['node']} can be granted in {left:.0f} s" if left else ""))
    return DONE
