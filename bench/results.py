"""What was measured, as figures, as JSON and as a table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

CALM = 0.25  # a larger share of the processors in use disturbs a measurement
WORDS = ("median", "least", "most", "ratio")


@dataclass(frozen=True)
class Takeover:
    """One death. Seconds count from it.

    ``busy``: the share of the computer's processors in use just before. ``phase``: the part of a heartbeat that had
    passed since the machine was last heard; ``since_heard``: from then to the start command, so what a death in the
    worst phase, right after that, would have cost. Both are None where the contender does not tell.
    """

    contender: str
    round: int
    active: str
    busy: float
    phase: float | None
    start_command: float
    since_heard: float | None
    ready: float


@dataclass(frozen=True)
class Move:
    """One planned move, or one stop and start. Seconds count from the command; ``unserved`` is a duration."""

    contender: str
    round: int
    active: str
    busy: float
    ready: float
    unserved: float
    steps: Mapping[str, float]


@dataclass
class Results:
    """One run."""

    seed: int
    gateway: str
    made_at: str
    commit: str
    host: str
    settings: dict[str, str] = field(default_factory=dict)
    limits: dict[str, float] = field(default_factory=dict)  # contender -> seconds to the start command, worst phase
    failures: list[str] = field(default_factory=list)
    takeovers: list[Takeover] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Median, least and most of each figure by contender, and the medians' ratio to the yardstick's."""
        found: dict[str, Any] = {}
        for kind, rows, figures in (
            ("takeover", self.takeovers, ("start_command", "ready")),
            ("move", self.moves, ("ready", "unserved")),
        ):
            by_name = _grouped(rows)
            yardstick = next((name for name in ("keepalived", "stop + start") if name in by_name), None)
            found[kind] = {
                name: {"rounds": len(own)}
                | {
                    figure: _figures([getattr(row, figure) for row in own], _medians(by_name, yardstick, figure))
                    for figure in figures
                }
                for name, own in by_name.items()
            }
        return found

    def verdicts(self) -> dict[str, dict[str, Any]]:
        """For each limit, the longest that was measured: from the death, and from when the dead machine was last heard,
        which is what a death at the worst moment would have cost. Neither may be longer than the limit."""
        found = {}
        for name, limit in self.limits.items():
            own = [row for row in self.takeovers if row.contender == name]
            deaths = [row.start_command for row in own]
            heard = [row.since_heard for row in own if row.since_heard is not None]
            found[name] = {
                "limit": limit,
                "rounds": len(heard),
                "most": max(deaths, default=None),
                "worst_phase": max(heard, default=None),
                "kept": max(*heard, *deaths) <= limit if heard else None,
            }
        return found

    def write(self, folder: Path) -> Path:
        """``takeover-GATEWAY.json``, and ``.md``, whose path is returned."""
        folder.mkdir(parents=True, exist_ok=True)
        told = {**asdict(self), "summary": self.summary(), "verdicts": self.verdicts()}
        page = folder / f"takeover-{self.gateway}.md"
        page.with_suffix(".json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
        page.write_text(self.markdown(), encoding="utf-8")
        return page

    def markdown(self) -> str:
        """Tables for people."""
        run = (self.made_at, f"commit {self.commit}", self.host, f"gateway: {self.gateway}", f"seed {self.seed}")
        lines = [f"{', '.join(run)}. In seconds; a ratio is that of the medians.", ""]
        summary = self.summary()
        if self.takeovers:
            lines += _table("death to start command, to ready", summary["takeover"], ("start_command", "ready"))
        if self.limits:
            lines += _verdicts(self.verdicts())
        if self.moves:
            lines += _table("planned: command to ready, nobody serves", summary["move"], ("ready", "unserved"))
            lines += _steps(_grouped(self.moves))
        busy = [row.busy for row in self.takeovers] + [row.busy for row in self.moves]
        crowded = sum(share > CALM for share in busy)
        lines.append(f"- {crowded} of {len(busy)} began while the computer was more than {CALM:.0%} busy")
        lines += [f"- {name}: {setting}" for name, setting in self.settings.items()]
        lines += [f"- failed: {failure.splitlines()[0]}" for failure in self.failures]
        return "\n".join(lines) + "\n"


def _grouped(rows: Iterable[Any]) -> dict[str, list[Any]]:
    """Rows by contender, in the order in which the contenders first come."""
    found: dict[str, list[Any]] = {}
    for row in rows:
        found.setdefault(row.contender, []).append(row)
    return found


def _medians(by_name: Mapping[str, list[Any]], name: str | None, figure: str) -> float | None:
    return None if name is None else median(getattr(row, figure) for row in by_name[name])


def _figures(values: Sequence[float], yardstick: float | None) -> dict[str, float | None]:
    middle = median(values)
    return {
        "median": round(middle, 3),
        "least": round(min(values), 3),
        "most": round(max(values), 3),
        "ratio": None if yardstick is None else round(middle / yardstick, 2),
    }


def _table(title: str, summary: Mapping[str, Any], figures: Sequence[str]) -> list[str]:
    heads = [f"{figure.replace('_', ' ')}: {word}" for figure in figures for word in WORDS]
    lines = [f"| {title} | rounds | {' | '.join(heads)} |", "|---|" + "---:|" * (len(heads) + 1)]
    for name, told in summary.items():
        cells = [_cell(told[figure][word]) for figure in figures for word in WORDS]
        lines.append(f"| {name} | {told['rounds']} | {' | '.join(cells)} |")
    return [*lines, ""]


def _verdicts(verdicts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The limits, and whether they were kept."""
    lines = [
        "| start command: most | rounds | after a death | since last heard, so in the worst phase | limit | kept |",
        "|---|---:|---:|---:|---:|---|",
    ]
    words = {True: "yes", False: "NO", None: "not measured"}
    for name, told in verdicts.items():
        cells = [_cell(told[figure]) for figure in ("most", "worst_phase", "limit")]
        lines.append(f"| {name} | {told['rounds']} | {' | '.join(cells)} | {words[told['kept']]} |")
    return [*lines, ""]


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _steps(by_name: Mapping[str, list[Move]]) -> list[str]:
    """When each step of a planned move came, as the median of its offsets from the command."""
    lines = ["| step of a planned move | median after the command |", "|---|---:|"]
    for name, rows in by_name.items():
        told = {step for row in rows for step in row.steps}
        middles = {step: median(row.steps[step] for row in rows if step in row.steps) for step in told}
        lines += [f"| {name}: {step} | {middles[step]:.2f} |" for step in sorted(middles, key=middles.__getitem__)]
    return [*lines, ""]
