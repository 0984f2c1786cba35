"""What the page shows of a snapshot, in words. Pure.

A probe is told by a node, which may be ill or in wrong hands: what is not of the kind that it should be is shown as
unknown, and every text is cut to a length.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dualjoe import freshness

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
    "promised": ("bad", "T440 would want a failover, and the nodes disagree"),
    "stray": ("bad", "A gateway runs without a lease"),
    "nobody_fit": ("bad", "Nobody serves Joe: no node is fit"),
    "alone": ("bad", "T440 hears neither node"),
    "sick_alone": ("bad", "Joe is ill on {holder}, and nobody can take over"),
}
_RUNNING = {"ready": "serves", "unready": "serves, not ready", "starting": "starting", "failed": "failed"}


@dataclass(frozen=True)
class Machine:
    """A node. ``tone``: good, note, busy or bad; ``heard``: whether it answers T440; ``joe``: whether he is there."""

    name: str
    home: str
    tone: str
    words: str
    heard: bool
    joe: bool
    busy: str
    reaches_peer: bool
    facts: tuple[tuple[str, str], ...]


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
    reason: str
    facts: tuple[tuple[str, str], ...]
    notices: tuple[str, ...]
    machines: tuple[Machine, ...]
    moving_to: str
    troubles: tuple[str, ...]
    waiting: int
    drills: tuple[Job, ...]
    jobs: tuple[Job, ...]
    events: tuple[Event, ...]
    plots: tuple[Plot, ...]


def of(snapshot: Snapshot) -> View:
    """The page of one moment."""
    status = snapshot.status or {}
    nodes = _object(status.get("nodes"))
    machines = tuple(_machine(name, _object(node)) for name, node in sorted(nodes.items()))
    jobs = [job for name, node in sorted(nodes.items()) for job in _jobs(name, _object(_object(node).get("probe")))]
    jobs += _jobs("T440", status)
    tone, headline = _headline(status, machines)
    return View(
        number=snapshot.number,
        as_of=f"{datetime.fromtimestamp(snapshot.at).astimezone():%Y-%m-%d %H:%M:%S %Z}",
        problem=text(snapshot.problem),
        pair=text(status.get("pair")) if snapshot.status else "",
        tone=tone,
        headline=headline,
        reason=text(status.get("reason")) if snapshot.status else "",
        facts=_facts(status) if snapshot.status else (),
        notices=tuple(_notices(status)),
        machines=machines,
        moving_to=text(status.get("moving_to")) if status.get("moving_to") else "",
        troubles=tuple(text(trouble) for trouble in _list(status.get("troubles"))[:_ROWS]),
        waiting=int(_number(status.get("alerts_waiting")) or 0),
        drills=tuple(job for job in jobs if job.name in DRILLS),
        jobs=tuple(job for job in jobs if job.name not in DRILLS),
        events=tuple(_event(event) for event in reversed(snapshot.events)),
        plots=_plots(snapshot.points, math.ceil(snapshot.at / _EDGE_SECONDS) * _EDGE_SECONDS),
    )


def _headline(status: Mapping[str, Any], machines: Sequence[Machine]) -> tuple[str, str]:
    if not status:
        return "bad", "Nothing is known: the watchdog on T440 does not answer"
    situation = text(status.get("situation"))
    holding = _object(_object(status.get("nodes")).get(str(status.get("holder"))))
    if situation == "missed" and holding.get("heard_seconds_ago") is None:
        situation = "starting"  # it has not had the time to answer
    tone, words = _HEADLINES.get(situation, ("note", situation.replace("_", " ").capitalize()))
    busy = next((machine.name for machine in machines if machine.busy in ("grant", "sync")), "")
    holder = text(status.get("holder") or "nobody")
    to = text(status.get("moving_to") or busy or status.get("holder") or "the other node")
    return tone, words.replace("{holder}", holder).replace("{to}", to)


def _facts(status: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    holder = _object(_object(status.get("nodes")).get(str(status.get("holder"))))
    left, ago = _number(_object(holder.get("probe")).get("lease_left")), _number(holder.get("heard_seconds_ago"))
    lease = UNKNOWN if left is None or ago is None else short(max(0.0, left - ago))
    return (
        ("Situation", text(status.get("situation"))),
        ("Since", when(status.get("since"))),
        ("Holder", text(status.get("holder") or "nobody")),
        ("Epoch", text(status.get("epoch"))),
        ("Lease left", lease),
    )


def _notices(status: Mapping[str, Any]) -> list[str]:
    """What people have asked for, and must not forget."""
    found = []
    pause = status.get("pause")
    if isinstance(pause, dict):
        know = "" if pause.get("nodes_know") is True else " Not every node knows of it yet."
        found.append(
            f"Paused until {when(pause.get('until'))} by {text(pause.get('by'))} ({text(pause.get('reason'))}):"
            f" Joe stays where he is, and nobody takes over.{know}"
        )
    if status.get("mode") == "observe":
        found.append("T440 only observes: nobody is moved unless you ask for it.")
    if status.get("stays_away") is True:
        found.append("Joe stays on the standby until a failback is asked for.")
    return found


def _machine(name: str, node: Mapping[str, Any]) -> Machine:
    probe, ago = _object(node.get("probe")), _number(node.get("heard_seconds_ago"))
    heard = node.get("heard") is True
    active = heard and probe.get("role") == "active"
    gateway = _object(probe.get("gateway"))
    state = text(gateway.get("state"))
    reaches = heard and probe.get("peer_reachable") is True
    home, busy = text(node.get("home")), text(node.get("busy")) if node.get("busy") else ""
    if not heard:
        words = "not heard yet" if ago is None else f"silent for {short(ago)}"
        facts: list[tuple[str, str]] = [("Why", text(node.get("silence") or "it has not been asked yet"))]
        return Machine(name, home, "note" if ago is None else "bad", words, heard, False, busy, reaches, tuple(facts))
    words = _RUNNING.get(state, f"active, gateway {state}") if active else "stands by"
    tone = "good" if (state == "ready" or not active) else "busy"
    if probe.get("fit") is not True:
        tone, words = "bad", f"{words}, not fit"
    memory = _object(probe.get("memory"))
    backup = freshness.captured_age("backup", probe) if isinstance(probe.get("jobs"), dict) else None
    facts = [
        ("Gateway", f"{state} since {when(gateway.get('since'))}" if gateway.get("since") else state),
        ("Memory", _fetched(memory) if not active else "live: Joe writes here"),
        ("Backup of T440", "none in this boot" if backup is None else f"{short(backup)} old"),
        ("Last check", f"{short(ago)} ago, took {short(_number(node.get('check_seconds')))}"),
        ("Reaches its peer", "yes" if reaches else "no" if probe.get("peer_reachable") is False else UNKNOWN),
    ]
    if probe.get("fit") is not True:
        facts.insert(0, ("Not fit", "; ".join(map(text, _list(probe.get("unfit"))[:10])) or "it does not say why"))
    joe = active and state in ("ready", "unready", "starting")
    return Machine(name, home, tone, words, heard, joe, busy, reaches, tuple(facts))


def _fetched(memory: Mapping[str, Any]) -> str:
    age = _number(memory.get("age_seconds"))
    if age is None:
        return "nothing fetched yet" if not memory.get("generation") else "of unknown age"
    return f"{short(age)} old"


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
