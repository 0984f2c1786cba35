"""What people are told: which troubles stand at this moment, and the words for what was done. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .takeover import Decision, Sighting

NOT_SERVED = frozenset({"nobody_fit", "alone", "sick_alone"})


def standing(decision: Decision, sightings: Mapping[str, Sighting], confirm_checks: int) -> dict[str, str]:
    """Every trouble of this moment: a key that stays the same while it lasts -> its text."""
    found = {}
    if decision.situation in NOT_SERVED:
        found["service"] = f"Joe is not served as he should be: {decision.reason}. Look at 'dualjoe status' on T440."
    if decision.situation == "promised":
        found["witness"] = f"No failover, although T440 would want one: {decision.reason}. Look at T440's network."
    for s in sightings.values():
        if s.failures >= confirm_checks and s.node != decision.record.holder:
            found[f"lost {s.node}"] = (
                f"{s.node} does not answer T440. Until it does, there is no second node to take over."
            )
        if s.heard:
            found.update(_of_node(s))
    return found


def _of_node(sighting: Sighting) -> dict[str, str]:
    found = {}
    if not sighting.fit:
        why = "; ".join(map(str, sighting.probe.get("unfit", []))) or "it does not say why"
        found[f"unfit {sighting.node}"] = f"{sighting.node} could not run the gateway now: {why}."
    for name, job in sorted(sighting.probe.get("jobs", {}).items()):
        if isinstance(job, dict) and job.get("result") in ("failed", "unreadable"):
            text = f"Job {name} on {sighting.node} failed: {job.get('message') or 'no reason given'}"
            found[f"job {sighting.node} {name}"] = text
    return found


def over(key: str) -> str:
    """The end of a trouble."""
    kind, _, what = key.partition(" ")
    node, _, job = what.partition(" ")
    ends = {
        "service": "Joe is served as he should be again.",
        "witness": "T440 and the nodes agree again.",
        "lost": f"{node} answers T440 again.",
        "unfit": f"{node} could run the gateway again.",
        "job": f"Job {job} on {node} works again.",
    }
    return f"Over: {ends[kind]}"


def moved(kind: str, node: str, reason: str, data: Mapping[str, Any]) -> str:
    """A move that is done. ``kind`` is the design's word for it; ``data`` is the event's."""
    done = f"Joe runs on {node} (epoch {data['epoch']}), ready after {data['start_seconds']:.1f} s."
    parts = [f"{kind.capitalize()}: {done}", f"Why: {reason}."]
    age = data.get("memory_age_seconds")
    if kind == "failover":
        parts.append("His memory is of unknown age." if age is None else f"His memory is {age:.0f} s old.")
        parts.append(f"What to do: look at {data['from']}." if data.get("from") else "")
    if data.get("published") is False:
        parts.append(f"The newest memory could not be published on {node}: see the job memory-publish there.")
    return " ".join(part for part in parts if part)


def not_ready(node: str, message: str) -> str:
    """A grant that came to nothing."""
    return f"{node} was to run the gateway and could not: {message}. The other node is tried next."
