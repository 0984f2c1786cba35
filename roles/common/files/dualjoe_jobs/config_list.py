"""The command `dualjoe config list`: the versions of the gateway's configuration."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from .account import check_account
from .config_guard import ROOT, SETTINGS, ConfigGuard, read
from .copies import named
from .job import DONE


def main(argv: Sequence[str] | None = None, settings: Path = SETTINGS, root: Path = ROOT) -> int:
    """Print the versions, oldest first."""
    parser = argparse.ArgumentParser(
        prog="dualjoe config list",
        description="The versions of the gateway's configuration on this node, oldest first; * is what is there now.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args(argv)
    check_account(root)
    guard = ConfigGuard.load(settings, root)
    live = guard.read()
    found = [
        {"version": path.name, "kind": folder.name, "bytes": path.stat().st_size, "live": read(path) == live}
        for folder in (guard.good, guard.replaced)
        for path in named(folder)
    ]
    if arguments.json:
        print(json.dumps({"versions": found}))
        return DONE
    for one in found:
        print(f"{'*' if one['live'] else ' '} {one['version']}  {one['kind']}, {one['bytes']} bytes")
    if not found:
        print("there is no good version yet")
    return DONE
