"""The pair and its timeline in lines for people, the same in the command and in the playbooks. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from . import freshness


def of_pair(status: Mapping[str, Any]) -> list[str]:
    """What the watchdog's status says."""
    lines = [f"Pair {status['pair']}: {status['situation']}, {status['reason']} (epoch {status['epoch']})"]
    lines += [f"  {name:<8} {node['home']:<8} {_node(node)}" for name, node in sorted(status["nodes"].items())]
    lines += [
        f"  {'T440':<8} {'witness':<8} {name} {job.get('result')} at {job.get('finished_at')}"
        for name, job in sorted(status.get("jobs", {}).items())
        if job.get("result")  # a job may leave details in a file beside it
    ]
    if status.get("mode") == "observe":
        lines.append("  Only observing: nobody is moved unless you ask for it.")
    lines += [f"  ! {trouble}" for trouble in status["troubles"]]
    if status["stays_away"]:
        lines.append("  Joe stays on the standby until a failback is asked for.")
    if status["alerts_waiting"]:
        lines.append(f"  {status['alerts_waiting']} alert(s) not taken by Telegram yet")
    return lines


def of_event(event: Mapping[str, Any]) -> str:
    """One event of the timeline, in local time."""
    at = datetime.fromisoformat(event["at"].replace("Z", "+00:00")).astimezone()
    return f"{at:%Y-%m-%d %H:%M:%S}  {event['kind']:<12} {event['node'] or '-':<8} {event['reason']}"


def _node(node: Mapping[str, Any]) -> str:
    probe = node["probe"]
    if not node["heard"]:
        ago = node["heard_seconds_ago"]
        return f"silent{'' if ago is None else f' for {ago:.0f} s'}: {node['silence'] or 'not asked yet'}"
    age = probe.get("memory", {}).get("age_seconds")
    words = [probe["role"], f"gateway {probe['gateway']['state']}", f"epoch {probe['epoch']}"]
    words += [f"memory {age:.0f} s old"] if age is not None and probe["role"] == "passive" else []
    saved = freshness.captured_age("backup", probe)
    words += [] if saved is None else [f"backup {freshness.in_words(saved)} old"]
    words += [] if probe["fit"] else ["NOT FIT: " + "; ".join(probe["unfit"])]
    return ", ".join(words)
