"""Run the project's checks one after the other and say what passed.

    tests/run.py                 all stages
    tests/run.py lint unit       the stages whose name or group is given

Each stage is one command whose output is shown as it comes. A stage that fails does not stop the others. The last line
is "N passed, N failed", counting stages; the exit code is 0 only if none failed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".venv" / "bin"


@dataclass(frozen=True)
class Stage:
    """One command, run at the repository's root."""

    name: str
    group: str
    command: tuple[str, ...]


def stages(scratch: str) -> tuple[Stage, ...]:
    """All stages, cheapest first. What they build goes to the directory `scratch`."""
    return (
        Stage("ruff-check", "lint", ("ruff", "check", ".")),
        Stage("ruff-format", "lint", ("ruff", "format", "--check", ".")),
        Stage("yamllint", "lint", ("yamllint", "--strict", ".")),
        Stage("ansible-lint", "lint", ("ansible-lint", "--strict")),
        Stage("collection-build", "lint", ("ansible-galaxy", "collection", "build", "--output-path", scratch)),
        Stage("mypy", "types", ("mypy",)),
        Stage("unit", "unit", ("pytest", "--quiet")),
        Stage("molecule-default", "molecule", ("molecule", "test", "--scenario-name", "default")),
        Stage("molecule-memory", "molecule", ("molecule", "test", "--scenario-name", "memory")),
        Stage("molecule-chaos", "molecule", ("molecule", "test", "--scenario-name", "chaos")),
    )


def run(stage: Stage) -> tuple[bool, float]:
    """Run one stage. Returns whether it passed, and the seconds it took."""
    print(f"\n=== {stage.name}: {' '.join(stage.command)}", flush=True)
    # The tools find each other (molecule calls ansible-playbook) only when the venv leads the path.
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    began = time.monotonic()
    code = subprocess.run(stage.command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, check=False).returncode
    return code == 0, time.monotonic() - began


def main() -> int:
    """Run the chosen stages; 0 when all passed, 1 when one failed, 2 for a wrong argument."""
    parser = argparse.ArgumentParser(description="Run the project's checks.")
    parser.add_argument("wanted", nargs="*", metavar="STAGE", help="stages or groups to run (default: all)")
    wanted = set(parser.parse_args().wanted)
    with tempfile.TemporaryDirectory() as scratch:
        known = stages(scratch)
        names = {name for stage in known for name in (stage.name, stage.group)}
        if unknown := wanted - names:
            parser.error(f"no such stage: {', '.join(sorted(unknown))} (there are: {', '.join(sorted(names))})")
        chosen = [stage for stage in known if not wanted or wanted & {stage.name, stage.group}]
        results = [(stage, *run(stage)) for stage in chosen]

    print()
    for stage, passed, seconds in results:
        print(f"  {stage.name:<18} {'passed' if passed else 'FAILED':<7} {seconds:7.1f} s")
    failed = sum(not passed for _, passed, _ in results)
    print(f"\n{len(results) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
