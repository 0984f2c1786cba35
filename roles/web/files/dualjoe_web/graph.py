"""Graphs as SVG, drawn from the watchdog's samples. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from markupsafe import Markup, escape

WIDTH, HEIGHT = 640, 190
LEFT, RIGHT, TOP, BOTTOM = 56, 8, 10, 26
_DAY = 86400.0
_STEPS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 1800, 3600, 7200, 21600, 43200)

Point = tuple[float, float]  # seconds of the wall clock, seconds


@dataclass(frozen=True)
class Graph:
    """One figure of the nodes over time. ``field``: its name in a sample; ``id``: in the page."""

    id: str
    title: str
    field: str
    gap: str  # what a gap in a line means


GRAPHS = (
    Graph("memory-age", "Age of the standing-by node's memory", "memory_age", "the node served, or was not heard"),
    Graph("backup-age", "Age of the newest backup of T440", "backup_age", "the node had none, or was not heard"),
    Graph("check-time", "How long a check takes", "check_time", "the node was not heard"),
)


def lines(points: Sequence[Mapping[str, Any]], field: str) -> dict[str, list[list[Point]]]:
    """Of each node the unbroken pieces of its line: a step without a figure ends one."""
    steps = [float(point["at"]) for point in points]
    step = min((b - a for a, b in zip(steps, steps[1:]) if b > a), default=_DAY)
    found: dict[str, list[list[Point]]] = {}
    last: dict[str, float] = {}
    for at, point in zip(steps, points):
        for node, told in sorted(point["nodes"].items()):
            pieces, value = found.setdefault(node, []), told.get(field)
            if value is None:
                continue
            if node not in last or at - last[node] > 1.5 * step:
                pieces.append([])
            pieces[-1].append((at, float(value)))
            last[node] = at
    return found


def svg(graph: Graph, points: Sequence[Mapping[str, Any]], now: float, seconds: float) -> Markup:
    """The last so many ``seconds``. What it shows stands in words beside it, so screen readers are not told of it."""
    drawn = lines(points, graph.field)
    top = _top(max((value for pieces in drawn.values() for piece in pieces for _, value in piece), default=0.0))
    x: Callable[[float], float] = lambda at: LEFT + (WIDTH - LEFT - RIGHT) * (1 - (now - at) / seconds)  # noqa: E731
    y: Callable[[float], float] = lambda value: TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top)  # noqa: E731
    parts = [f'<svg class="graph" viewBox="0 0 {WIDTH} {HEIGHT}" aria-hidden="true" focusable="false">']
    for value in (0.0, top / 2, top):
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{escape(short(value))}</text>')
    for at, name in _days(now, seconds):
        parts.append(f'<line class="grid" x1="{x(at):.1f}" x2="{x(at):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text x="{x(at) + 4:.1f}" y="{HEIGHT - 8}">{escape(name)}</text>')
    for number, pieces in enumerate(drawn[node] for node in sorted(drawn)):
        for piece in pieces:
            path = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in piece)
            if len(piece) == 1:  # a line of one point would not be seen
                at, value = piece[0]
                parts.append(f'<circle class="series-{number}" cx="{x(at):.1f}" cy="{y(value):.1f}" r="1.5"/>')
            else:
                parts.append(f'<polyline class="series-{number}" points="{path}"/>')
    return Markup("".join([*parts, "</svg>"]))  # noqa: S704 - made of figures, and of texts that were escaped


def in_words(points: Sequence[Mapping[str, Any]], field: str) -> list[tuple[str, str, str]]:
    """Of each node its name, the newest figure, and the highest."""
    told = []
    for node, pieces in sorted(lines(points, field).items()):
        figures = [value for piece in pieces for _, value in piece]
        newest = points[-1]["nodes"].get(node, {}).get(field)
        told.append((node, short(newest), short(max(figures, default=None))))
    return told


def by_day(points: Sequence[Mapping[str, Any]], field: str) -> list[tuple[str, dict[str, str]]]:
    """The highest figure of each local day and node."""
    days: dict[str, dict[str, float]] = {}
    for point in points:
        day = days.setdefault(f"{datetime.fromtimestamp(point['at']).astimezone():%a %d %b}", {})
        for node, told in point["nodes"].items():
            if told.get(field) is not None:
                day[node] = max(day.get(node, 0.0), told[field])
    return [(day, {node: short(value) for node, value in nodes.items()}) for day, nodes in days.items()]


def short(seconds: float | None) -> str:
    """A length of time, in few letters."""
    if seconds is None:
        return "-"
    for unit, length, least in (("d", _DAY, 2), ("h", 3600.0, 2), ("min", 60.0, 2), ("s", 1.0, 1), ("ms", 0.001, 0)):
        if (figure := seconds / length) >= least:
            return f"{figure:.0f} {unit}" if figure >= 10 else f"{figure:.1f}".removesuffix(".0") + f" {unit}"
    return "0 s"  # a clock that was set back


def _top(highest: float) -> float:
    """The end of the scale: a round figure that is not below the highest."""
    for step in _STEPS:
        if highest <= step:
            return step
    return math.ceil(highest / _DAY) * _DAY


def _days(now: float, seconds: float) -> Iterator[tuple[float, str]]:
    """Each local midnight of the span, and its day."""
    midnight = datetime.fromtimestamp(now).astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
    while (at := midnight.timestamp()) > now - seconds:
        yield at, f"{midnight:%a}"
        midnight = (midnight - timedelta(hours=12)).replace(hour=0, minute=0).astimezone()
