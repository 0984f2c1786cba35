"""What the command shows on a terminal. What it says is from ``dualjoe.overview`` and ``dualjoe.summary``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dualjoe import doctor, overview, summary
from dualjoe.names import shown
from dualjoe.overview import Finding, Overview
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

_STYLES = {overview.OK: "green", overview.WARNING: "yellow", overview.CRITICAL: "bold red", overview.UNKNOWN: "magenta"}
_EVENTS = {"failover": "bold red", "silent": "yellow", "failback": "green", "switchover": "green", "requested": "cyan"}


def of_pair(seen: Overview) -> RenderableType:
    """The pair on one screen: who serves, the three side by side, what is wrong."""
    head = Text.assemble(
        (f" {seen.level.upper()} ", f"reverse {_STYLES[seen.level]}"), shown(f"  Pair {seen.pair}: {seen.headline}")
    )
    return Group(head, Text(shown(seen.serving)), _machines(seen), *of_findings(seen.findings))


def _machines(seen: Overview) -> Table:
    """A column for each machine; of what one says, the others may say nothing."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("")
    for machine in seen.machines:
        table.add_column(Text(f"{machine.name} ({machine.home})", style=_STYLES[machine.level]), overflow="fold")
    names = dict.fromkeys(name for machine in seen.machines for name in machine.facts)
    for name in names:
        table.add_row(Text(name, style="dim"), *(Text(shown(machine.facts.get(name, ""))) for machine in seen.machines))
    return table


def of_findings(findings: Sequence[Finding]) -> Iterable[RenderableType]:
    """What is wrong, the worst first, and the command for each."""
    for finding in findings:
        style = _STYLES[finding.level]
        yield Text.assemble((f"{summary.MARKS[finding.level]} ", style), shown(finding.what))
        yield Padding(Text(shown(finding.remedy), style="cyan"), (0, 0, 0, 3))


def of_examination(examined: doctor.Examined) -> RenderableType:
    """Each subject, with what is wrong with it."""
    lines: list[RenderableType] = []
    for subject, findings in examined.items():
        style = "dim" if findings is None else _STYLES[doctor.level({subject: findings})]
        lines += [
            Text.assemble((f"{subject}: ", "bold"), (doctor.state(findings), style)),
            *of_findings(findings or ()),
        ]
    return Group(*lines)


def of_event(event: Mapping[str, Any]) -> Text:
    """One event of the timeline."""
    return Text(summary.of_event(event), style=_EVENTS.get(event["kind"], ""))


def of_watch(seen: Overview, events: Sequence[Mapping[str, Any]]) -> RenderableType:
    """The pair, and what happened last."""
    return Group(of_pair(seen), Text(), *(of_event(event) for event in events))
