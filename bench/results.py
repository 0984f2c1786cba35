"""What was measured, as figures, as JSON and as a table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

WORDS = ("median", "least", "most", "ratio")


@dataclass(frozen=True)
class Takeover:
    """One death. Seconds count from it.

    ``busy``: the share of the computer's processors in use just before. ``phase``: the part of a heartbeat that had
    passed since the last one.
    """

    contender: str
    round: int
    active: str
    busy: float
    phase: float
    start_command: float
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
                name: {
                    figure: _figures([getattr(row, figure) for row in own], _medians(by_name, yardstick, figure))
                    for figure in figures
                }
                for name, own in by_name.items()
            }
        return found

    def write(self, folder: Path) -> None:
        """``takeover.json`` and ``takeover.md``."""
        folder.mkdir(parents=True, exist_ok=True)
        told = {**asdict(self), "summary": self.summary()}
        (folder / "takeover.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
        (folder / "takeover.md").write_text(self.markdown(), encoding="utf-8")

    def markdown(self) -> str:
        """Tables for people."""
        run = (self.made_at, f"commit {self.commit}", self.host, f"gateway: {self.gateway}", f"seed {self.seed}")
        lines = [f"{', '.join(run)}. In seconds; a ratio is that of the medians.", ""]
        summary = self.summary()
        if self.takeovers:
            lines += _table("death to start command, to ready", summary["takeover"], ("start_command", "ready"))
        if self.moves:
            lines += _table("planned: command to ready, nobody serves", summary["move"], ("ready", "unserved"))
            lines += _steps(_grouped(self.moves))
        lines += [f"- {name}: {setting}" for name, setting in self.settings.items()]
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
    lines = [f"| {title} | {' | '.join(heads)} |", "|---|" + "---:|" * len(heads)]
    for name, told in summary.items():
        cells = [_cell(told[figure][word]) for figure in figures for word in WORDS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return [*lines, ""]


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _steps(by_name: Mapping[str, list[Move]]) -> list[str]:
    """When each step of a planned move came, as the median of its offsets from the command."""
    lines = ["| step of a planned move | median after the command |", "|---|---:|"]
    for name, rows in by_name.items():
        middles = {step: median(row.steps[step] for row in rows) for step in rows[0].steps}
        lines += [f"| {name}: {step} | {middles[step]:.2f} |" for step in sorted(middles, key=middles.__getitem__)]
    return [*lines, ""]
