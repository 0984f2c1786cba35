"""Whether a move is whole, and what stands around it, by what the watchdog's status says. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import summary
from .names import shown

READY = "ready"


@dataclass(frozen=True)
class Findings:
    """``wrong``: why the move is not whole. ``troubles``: what stands around it and needs a person, who has been told
    of it. ``lines``: how the pair is, for people."""

    node: str
    wrong: tuple[str, ...]
    troubles: tuple[str, ...]
    lines: tuple[str, ...]

    @property
    def summary(self) -> str:
        """All of it in one line."""
        told = "; ".join(self.wrong) or f"Joe serves on {self.node}"
        return f"{told}; to look at: {' '.join(self.troubles)}" if self.troubles else told


def of_move(status: Mapping[str, Any], wanted: str | None) -> Findings:
    """What there is to say of a move to ``wanted``: a node, a home role, or None for wherever Joe is now."""
    nodes: Mapping[str, Any] = status["nodes"]
    node = next((name for name, told in nodes.items() if wanted in (name, told["home"])), wanted or status["holder"])
    lines = [*summary.of_pair(status), *(line for name in sorted(nodes) for line in _jobs(name, nodes[name]["probe"]))]
    wrong = [f"there is no node {node}"] if node not in nodes else _wrong(status, nodes, node)
    return Findings(str(node), tuple(wrong), tuple(status["troubles"]), tuple(lines))


def _wrong(status: Mapping[str, Any], nodes: Mapping[str, Any], node: str) -> list[str]:
    found = []
    if status["holder"] != node:
        found.append(f"the lease is not {node}'s but {status['holder'] or 'nobody'}'s ({status['reason']})")
    elif not nodes[node]["heard"]:
        found.append(f"{node} does not answer")
    elif (state := nodes[node]["probe"]["gateway"]["state"]) != READY:
        found.append(f"the gateway on {node} is {state}, not {READY}")
    found += [
        f"{name} is active as well"
        for name, told in nodes.items()
        if name not in (node, status["holder"]) and told["heard"] and told["probe"]["role"] == "active"
    ]
    return found


def _jobs(node: str, probe: Mapping[str, Any]) -> list[str]:
    jobs = [(name, job) for name, job in sorted(probe.get("jobs", {}).items()) if isinstance(job, dict)]
    return [shown(f"  {node:<8} job {name}: {job.get('result')} at {job.get('finished_at')}") for name, job in jobs]
