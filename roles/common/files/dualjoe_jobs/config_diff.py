"""The command `dualjoe config diff`: what has changed in the gateway's configuration, without its secrets."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from dualjoe import configuration

from .account import check_account
from .config_guard import ROOT, SETTINGS, ConfigGuard, read
from .copies import named
from .job import DONE, JobFailed


def main(argv: Sequence[str] | None = None, settings: Path = SETTINGS, root: Path = ROOT) -> int:
    """Print what the live configuration has changed."""
    parser = argparse.ArgumentParser(
        prog="dualjoe config diff",
        description="What has changed since the last good configuration, or the named version. Secrets are not shown.",
    )
    parser.add_argument("version", nargs="?", metavar="VERSION", help="as 'dualjoe config list' shows it")
    arguments = parser.parse_args(argv)
    check_account(root)
    guard = ConfigGuard.load(settings, root)
    versions = {path.name: path for folder in (guard.replaced, guard.good) for path in named(folder)}
    if not versions:
        raise JobFailed("there is no good version yet")
    name = arguments.version or max(path.name for path in named(guard.good))
    if name not in versions:
        raise JobFailed(f"there is no version {name!r}; 'dualjoe config list' shows them")
    for line in configuration.difference(read(versions[name]), guard.read(), (name, "live")):
        print(line)
    return DONE
