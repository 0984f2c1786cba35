"""The pair and its timeline in plain lines, for playbooks and pipes; what is said is from ``overview``. Pure.

What other machines have told may hold anything, so nothing of it moves a terminal's cursor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import doctor, overview
from .names import shown
from .overview import Finding, Overview

MARKS = {overview.OK: "-", overview.WARNING: "!", overview.CRITICAL: "!!"}


def of_pair(status: Mapping[str, Any]) -> list[str]:
    """What the watchdog's status says."""
    return of_overview(overview.of(status))


def of_overview(seen: Overview) -> list[str]:
    """The same, of what was made of it."""
    lines = [f"Pair {seen.pair}: {seen.headline}", f"  {seen.serving}"]
    for machine in seen.machines:
        facts = ", ".join(f"{name} {told}" for name, told in machine.facts.items())
        lines.append(f"  {machine.name:<8} {machine.home:<8} {facts.removeprefix('state ')}")
    return [*map(shown, lines), *(line for finding in seen.findings for line in of_finding(finding))]


def of_finding(finding: Finding) -> list[str]:
    """What is wrong, and the command for it."""
    return [shown(f"  {MARKS[finding.level]} {finding.what}"), shown(f"      {finding.remedy}")]


def of_examination(examined: doctor.Examined) -> list[str]:
    """What 'dualjoe doctor' has found: each subject, with what is wrong with it."""
    lines = []
    for subject, findings in examined.items():
        lines.append(f"{subject}: {doctor.state(findings)}")
        lines += [line for finding in findings or () for line in of_finding(finding)]
    return lines


def in_one_line(seen: Overview) -> str:
    """For monitoring: the level, and the worst of what is wrong."""
    told = [finding.what for finding in seen.findings if finding.level != overview.OK]
    more = f" (and {len(told) - 1} more)" if len(told) > 1 else ""
    return shown(f"{seen.level.upper()} - {seen.pair}: {told[0] + more if told else seen.serving}")


def of_event(event: Mapping[str, Any]) -> str:
    """One event of the timeline, in local time, and how long it took."""
    told = f"{overview.local(event['at'])}  {event['kind']:<12} {event['node'] or '-':<8} {event['reason']}"
    data = event.get("data")
    figures = data if isinstance(data, dict) else {}
    took = [f"{words} {figures[name]:.1f} s" for name, words in _TOOK.items() if _is_long(figures.get(name))]
    return shown(f"{told} ({', '.join(took)})" if took else told)


def _is_long(seconds: object) -> bool:
    return isinstance(seconds, (int, float)) and seconds >= 0.05


_TOOK = {
    "detection_seconds": "noticed after",
    "wait_seconds": "waited",
    "start_seconds": "ready after",
    "silent_seconds": "silent for",
    "seconds": "took",
}
