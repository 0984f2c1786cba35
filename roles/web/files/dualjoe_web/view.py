"""What the page shows of a snapshot: what ``overview`` says of the pair, its picture, graphs and timeline. Pure.

A probe is told by a node, which may be ill or in wrong hands: what is not of the kind that it should be is shown as
unknown, and every text is cut to a length.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dualjoe import overview

from .feed import Snapshot
from .graph import GRAPHS, Graph, by_day, in_words, short, svg

WEEK_SECONDS = 7 * 86400.0
UNKNOWN = "unknown"
DRILLS = ("drill", "rehearsal", "backup-verify")
_EDGE_SECONDS = 900  # the right edge of the graphs moves so seldom, as each of its moves is sent to all who watch
_TEXT = 400
_ROWS = 60

# situation -> tone, headline
_HEADLINES = {
    "home": ("good", "Joe is at home on {holder}"),
    "away": ("note", "Joe serves on {holder}, away from home"),
    "starting": ("note", "T440 has just begun to look"),
    "settling": ("note", "T440 waits until no lease can be running"),
    "waiting_for_both": ("note", "T440 waits for the node with the newest memory"),
    "granting": ("busy", "Joe is starting on {to}"),
    "regranting": ("busy", "Joe is starting again on {to}"),
    "missed": ("busy", "{holder} has missed a check"),
    "silent": ("busy", "{holder} is silent; T440 waits for the end of its lease"),
    "fencing": ("busy", "{holder} is being switched off"),
    "failing_over": ("busy", "Failover: Joe is moving to {to}"),
    "failing_back": ("busy", "Failback: Joe is moving home to {to}"),
    "moving": ("busy", "Joe is moving to {to}"),
    "syncing": ("busy", "Joe's memory is being fetched to {to}"),
    "revoking": ("busy", "Joe is stopping on {holder}"),
    "pausing": ("note", "A pause begins"),
    "resuming": ("busy", "The pause ends"),
    "paused": ("bad", "A move of Joe is due, and paused"),
    "observing": ("bad", "A move of Joe is due, and T440 only observes"),
    "unwritten": ("bad", "T440 cannot write down what is due, and does not do it"),
    "promised": ("bad", "T440 would want a failover, and the nodes disagree"),
    "stray": ("bad", "A gateway runs without a lease"),
    "nobody_fit": ("bad", "Nobody serves Joe: no node is fit"),
    "alone": ("bad", "T440 hears neither node"),
    "sick_alone": ("bad", "Joe is ill on {holder}, and nobody can take over"),
}
_TONES = {overview.OK: "good", overview.WARNING: "note", overview.CRITICAL: "bad", overview.UNKNOWN: "note"}
_RUNNING = {"ready": "serves", "unready": "serves, not ready", "starting": "starting", "failed": "failed"}


@dataclass(frozen=True)
class Node:
    """A node in the picture. ``tone``: good, note, busy or bad; ``heard``: whether it answers T440; ``joe``: whether he
    is there."""

    name: str
    home: str
    tone: str
    words: str
    heard: bool
    joe: bool
    busy: str
    reaches_peer: bool


@dataclass(frozen=True)
class Card:
    """What is known of one of the three machines."""

    name: str
    home: str
    tone: str
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Finding:
    """What is wrong, or to be known, and the command for it."""

    tone: str
    what: str
    remedy: str


@dataclass(frozen=True)
class Job:
    """The last run of a job."""

    name: str
    machine: str
    good: bool
    result: str
    ended: str
    message: str


@dataclass(frozen=True)
class Event:
    """One line of the timeline. ``at``: for programs, ``when``: for people."""

    at: str
    when: str
    kind: str
    node: str
    reason: str


@dataclass(frozen=True)
class Plot:
    """A graph, and the same in figures."""

    graph: Graph
    drawing: str
    newest: list[tuple[str, str, str]]
    days: list[tuple[str, dict[str, str]]]
    nodes: list[str]


@dataclass(frozen=True)
class View:
    """All that the page shows."""

    number: int
    as_of: str
    problem: str
    pair: str
    tone: str
    headline: str
    serving: str
    facts: tuple[tuple[str, str], ...]
    notices: tuple[str, ...]
    nodes: tuple[Node, ...]
    cards: tuple[Card, ...]
    findings: tuple[Finding, ...]
    drills: tuple[Job, ...]
    jobs: tuple[Job, ...]
    events: tuple[Event, ...]
    plots: tuple[Plot, ...]


def of(snapshot: Snapshot) -> View:
    """The page of one moment."""
    status = snapshot.status or {}
    told = _object(status.get("nodes"))
    nodes = tuple(_node(name, _object(node)) for name, node in sorted(told.items()))
    jobs = [job for name, node in sorted(told.items()) for job in _jobs(name, _object(_object(node).get("probe")))]
    jobs += _jobs(overview.WITNESS, status)
    tone, headline = _headline(status, nodes)
    seen = _overview(status)
    return View(
        number=snapshot.number,
        as_of=f"{datetime.fromtimestamp(snapshot.at).astimezone():%Y-%m-%d %H:%M:%S %Z}",
        problem=text(snapshot.problem),
        pair=text(status.get("pair")) if status else "",
        tone=tone,
        headline=headline,
        serving=text(f"{seen.serving[:1].upper()}{seen.serving[1:]}" if seen else status.get("reason"))
        if status
        else "",
        facts=_facts(status) if status else (),
        notices=tuple(_notices(status, seen)),
        nodes=nodes,
        cards=tuple(_card(machine) for machine in seen.machines) if seen else (),
        findings=_findings(status, seen),
        drills=tuple(job for job in jobs if job.name in DRILLS),
        jobs=tuple(job for job in jobs if job.name not in DRILLS),
        events=tuple(_event(event) for event in reversed(snapshot.events)),
        plots=_plots(snapshot.points, math.ceil(snapshot.at / _EDGE_SECONDS) * _EDGE_SECONDS),
    )


def _overview(status: Mapping[str, Any]) -> overview.Overview | None:
    """None where there is no status, or a node tells what makes no sense."""
    try:
        return overview.of(status) if status else None
    except (AttributeError, LookupError, TypeError, ValueError, OverflowError):
        return None


def _card(machine: overview.Machine) -> Card:
    facts = tuple((name.capitalize(), text(told)) for name, told in machine.facts.items())
    return Card(machine.name, machine.home, _TONES[machine.level], facts)


def _findings(status: Mapping[str, Any], seen: overview.Overview | None) -> tuple[Finding, ...]:
    if seen is None:
        return tuple(Finding("bad", text(told), "dualjoe status") for told in _list(status.get("troubles"))[:_ROWS])
    return tuple(Finding(_TONES[each.level], text(each.what), text(each.remedy)) for each in seen.findings[:_ROWS])


def _headline(status: Mapping[str, Any], nodes: Sequence[Node]) -> tuple[str, str]:
    if not status:
        return "bad", "Nothing is known: the watchdog on T440 does not answer"
    situation = text(overview.situation(status))
    tone, words = _HEADLINES.get(situation, ("note", situation.replace("_", " ").capitalize()))
    busy = next((node.name for node in nodes if node.busy in ("grant", "sync")), "")
    holder = text(status.get("holder") or "nobody")
    to = text(status.get("moving_to") or busy or status.get("holder") or "the other node")
    return tone, words.replace("{holder}", holder).replace("{to}", to)


def _facts(status: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return (
        ("Situation", text(status.get("situation"))),
        ("Since", when(status.get("since"))),
        ("Epoch", text(status.get("epoch"))),
    )


def _notices(status: Mapping[str, Any], seen: overview.Overview | None) -> list[str]:
    """What must not be overlooked."""
    found = []
    pause = status.get("pause")
    if isinstance(pause, dict):
        know = "" if pause.get("nodes_know") is True else " Not every node knows of it yet."
        found.append(
            f"Paused until {when(pause.get('until'))} by {text(pause.get('by'))} ({text(pause.get('reason'))}):"
            f" Joe stays where he is, and nobody takes over.{know}"
        )
    if status and seen is None:
        found.append(
            "A node tells what makes no sense, so little can be shown of it: see 'dualjoe status --json' on T440."
        )
    return found


def _node(name: str, node: Mapping[str, Any]) -> Node:
    probe, ago = _object(node.get("probe")), _number(node.get("heard_seconds_ago"))
    heard = node.get("heard") is True
    active = heard and probe.get("role") == "active"
    state = text(_object(probe.get("gateway")).get("state"))
    if not heard:
        tone, words = ("note", "not heard yet") if ago is None else ("bad", f"silent for {short(ago)}")
    else:
        words = _RUNNING.get(state, f"active, gateway {state}") if active else "stands by"
        tone = "good" if (state == "ready" or not active) else "busy"
        if probe.get("fit") is not True:
            tone, words = "bad", f"{words}, not fit"
    return Node(
        name=name,
        home=text(node.get("home")),
        tone=tone,
        words=words,
        heard=heard,
        joe=active and state in ("ready", "unready", "starting"),
        busy=text(node.get("busy")) if node.get("busy") else "",
        reaches_peer=heard and probe.get("peer_reachable") is True,
    )


def _jobs(machine: str, told: Mapping[str, Any]) -> list[Job]:
    """The jobs of a machine; those that only leave details in a file are none."""
    found = []
    for name, job in sorted(_object(told.get("jobs")).items())[:_ROWS]:
        if not isinstance(job, dict) or not job.get("result"):
            continue
        good = job["result"] not in ("failed", "unreadable")
        found.append(
            Job(
                text(name),
                machine,
                good,
                text(job["result"]),
                when(job.get("finished_at")),
                text(job.get("message") or ""),
            )
        )
    return found


def _event(event: Mapping[str, Any]) -> Event:
    data = _object(event.get("data"))
    parts = (("noticed in", "detection_seconds"), ("waited", "wait_seconds"), ("started in", "start_seconds"))
    times = [f"{word} {short(figure)}" for word, key in parts if (figure := _number(data.get(key))) is not None]
    reason = text(event.get("reason"))
    return Event(
        at=text(event.get("at")),
        when=when(event.get("at")),
        kind=text(event.get("kind")).replace("_", " "),
        node=text(event.get("node") or "-"),
        reason=f"{reason} ({', '.join(times)})" if times else reason,
    )


def _plots(points: Sequence[Mapping[str, Any]], now: float) -> tuple[Plot, ...]:
    nodes = sorted({name for point in points for name in point["nodes"]})
    return tuple(
        Plot(
            graph,
            svg(graph, points, now, WEEK_SECONDS),
            in_words(points, graph.field),
            by_day(points, graph.field),
            nodes,
        )
        for graph in GRAPHS
        if points
    )


def when(moment: object) -> str:
    """A UTC time of ISO 8601 in local time, for people."""
    try:
        return f"{datetime.fromisoformat(str(moment).replace('Z', '+00:00')).astimezone():%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError):
        return UNKNOWN


def text(value: object) -> str:
    """What was told, if it can be shown on a line."""
    if not isinstance(value, (str, int, float)) or isinstance(value, bool):
        return UNKNOWN
    told = str(value)
    return told if len(told) <= _TEXT else f"{told[:_TEXT]}…"


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else ()


def _number(value: object) -> float | None:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e12
    return float(value) if good else None  # type: ignore[arg-type]
