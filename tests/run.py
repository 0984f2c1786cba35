"""Run the project's checks and say what passed.

    tests/run.py                 all stages
    tests/run.py lint unit       the stages whose name or group is given

Each stage is one command. The scenarios run one after the other, and their output is shown as it comes: the lab waits
more than it works. So the other stages run beside them, at the lowest priority, and each is shown when it has ended. A
stage that fails does not stop the others. What failed in each is said again at the end, where a log is read first. The
last line is "N passed, N failed", counting stages; the exit code is 0 only if none failed.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
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
        Stage("site", "lint", ("make", "site")),
        Stage("mypy", "types", ("mypy",)),
        Stage("unit", "unit", ("pytest", "--quiet", "--numprocesses=auto", "--dist=worksteal")),
        Stage("browser", "browser", ("pytest", "--quiet", "tests/browser")),
        Stage("molecule-default", "molecule", ("molecule", "test", "--scenario-name", "default")),
        Stage("molecule-memory", "molecule", ("molecule", "test", "--scenario-name", "memory")),
        Stage("molecule-chaos", "molecule", ("molecule", "test", "--scenario-name", "chaos")),
    )


@dataclass(frozen=True)
class Result:
    """Whether a stage passed, the seconds it took, and the lines that say what failed."""

    stage: Stage
    passed: bool
    seconds: float
    trouble: tuple[str, ...] = ()


COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# How pytest's summary and ansible-playbook begin the line that names what failed.
FAILURE = re.compile(r"(FAILED|ERROR) \S+::|fatal: \[|failed: \[")
SAID_AGAIN = 6
WIDTH = 240


def trouble(output: Sequence[str]) -> tuple[str, ...]:
    """Up to six lines of a failed stage's output, cut at 240 characters: those that name what failed, or its last."""
    lines = [line for each in output if (line := COLOUR.sub("", each).rstrip())]
    named = [line for line in lines if FAILURE.match(line)]
    return tuple(line[:WIDTH] for line in (named[:SAID_AGAIN] or lines[-SAID_AGAIN:]))


def run(stage: Stage, beside: bool = False) -> Result:
    """Run one stage; ``beside`` others, it gives way to them, and its output is shown at its end."""
    title = f"\n=== {stage.name}: {' '.join(stage.command)}"
    if not beside:
        print(title, flush=True)
    # The tools find each other (molecule calls ansible-playbook) only when the venv leads the path.
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    if sys.stdout.isatty():
        environment |= {"PY_COLORS": "1", "FORCE_COLOR": "1", "ANSIBLE_FORCE_COLOR": "1"}
    began = time.monotonic()
    output = []
    with subprocess.Popen(
        [*(["nice", "-n", "19"] if beside else []), *stage.command],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            output.append(line)
            if not beside:
                print(line, end="", flush=True)
    if beside:
        print(f"{title}\n{''.join(output)}", flush=True)
    passed = process.returncode == 0
    return Result(stage, passed, time.monotonic() - began, () if passed else trouble(output))


def run_all(chosen: Sequence[Stage]) -> list[Result]:
    """Run the stages, those that need the lab beside those that do not."""
    in_lab = [stage for stage in chosen if stage.group == "molecule"]
    others = [stage for stage in chosen if stage not in in_lab]
    with ThreadPoolExecutor(max_workers=1) as pool:
        running = [pool.submit(run, stage, bool(in_lab)) for stage in others]
        results = [run(stage) for stage in in_lab]
        return [*(each.result() for each in running), *results]


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
        began = time.monotonic()
        results = run_all(chosen)

    print()
    for each in results:
        print(f"  {each.stage.name:<18} {'passed' if each.passed else 'FAILED':<7} {each.seconds:7.1f} s")
    print(f"  {'in all':<26} {time.monotonic() - began:7.1f} s")
    for each in results:
        if not each.passed:
            print(f"\n{each.stage.name}:", *each.trouble, sep="\n  ")
    failed = sum(not each.passed for each in results)
    print(f"\n{len(results) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
