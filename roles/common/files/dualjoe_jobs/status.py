"""The command `dualjoe status` on a node: what its guard says."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dualjoe import metrics

from . import own_guard
from .durable import write_bytes
from .job import DONE, FAILED, JobFailed
from .own_guard import Probe


def lines(told: Mapping[str, Any]) -> list[str]:
    """The guard's answer for people."""
    left = told.get("lease_left")
    gateway, memory = told["gateway"], told["memory"]
    lease = "" if left is None else f", {left:.0f} s of its lease left"
    reachable = {True: "reachable", False: "not reachable", None: "not asked yet"}[told.get("peer_reachable")]
    shown = [
        f"{told['node']} is {told['role']} (epoch {told['epoch']}, term {told['term']}{lease})",
        f"gateway: {gateway['state']} since {gateway['since']}{_aside(gateway['detail'])}",
        f"peer: {told['peer']} is {reachable}",
    ]
    if memory.get("generation"):
        shown.append(f"memory: {memory['generation']}, {_age(memory.get('age_seconds'))} old")
    else:
        shown.append("memory: nothing fetched yet")
    for name, job in sorted(told["jobs"].items()):
        shown.append(f"job {name}: {job.get('result')} at {job.get('finished_at')}{_aside(job.get('message'))}")
    if not told["fit"]:
        shown.append(f"NOT FIT to run the gateway: {'; '.join(told['unfit'])}")
    return shown


def _aside(text: str | None) -> str:
    return f" ({text})" if text else ""


def _age(seconds: float | None) -> str:
    if seconds is None:
        return "of unknown age, so perhaps very"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def main(argv: Sequence[str] | None = None, probe: Probe = own_guard.probe) -> int:
    """Print it, or write it down as metrics. 0, or 1 when the guard does not answer."""
    parser = argparse.ArgumentParser(
        prog="dualjoe status", description="How this node is.", epilog="Exit codes: 0, or 1 if the guard is silent."
    )
    parser.add_argument("--json", action="store_true", help="print the guard's own answer")
    parser.add_argument(
        "--prometheus",
        type=Path,
        metavar="FILE",
        help="print nothing, but replace FILE by metrics, as node_exporter's textfile collector reads them; that the"
        " guard is silent is told there as well",
    )
    arguments = parser.parse_args(argv)
    if arguments.prometheus is not None:
        return _write_metrics(arguments.prometheus, probe)
    told = probe()
    print(json.dumps(told) if arguments.json else "\n".join(lines(told)))
    return 0


def _write_metrics(file: Path, probe: Probe) -> int:
    try:
        told: Mapping[str, Any] | None = probe()
    except JobFailed:
        told = None
    write_bytes(file, metrics.of_node(told).encode(), 0o644)
    return FAILED if told is None else DONE
