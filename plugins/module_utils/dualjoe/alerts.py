"""What people are told: which troubles stand at this moment, and the words for what was done. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from . import freshness, runbook, snapshot_warnings
from .notices import BEGUN, LASTS, OVER, Notice
from .pair import Decision, Sighting

NOT_SERVED = frozenset({"nobody_fit", "alone", "sick_alone"})
HELD_BACK = frozenset({"paused", "observing"})  # a move is due and not made
# Kinds that somebody is woken for.
URGENT = frozenset({"service", "unwritten", "stray", "forced", "failover", "not_ready"})
STARTING = frozenset({"starting", "settling", "waiting_for_both"})  # T440 has only just begun to look
_TRIES = "T440 starts him on the first node that can."
_HELD = "T440 moves nobody now."
OBSERVING = (
    "T440 only observes, because it was switched to that by hand: nobody takes over meanwhile, whatever happens."
    " 'dualjoe observe off' on T440 ends it."
)
STRAY_SECONDS = 600.0  # a gateway that was started without a lease is told of for so long


@dataclass(frozen=True)
class Told:
    """A trouble that people know of: its text, and when they were last told, in monotonic seconds."""

    text: str
    at: float


def news(
    told: Mapping[str, Told], troubles: Mapping[str, str], now: float, reminder: float, url: str = ""
) -> tuple[dict[str, Told], list[Notice]]:
    """What people know after this moment, and what to tell them for that: a trouble once when it begins, again every
    ``reminder`` seconds while it lasts, and once when it is over. ``url``: of the runbooks."""
    known, notices = {}, []
    for key, text in troubles.items():
        before = told.get(key)
        due = before is None or now - before.at >= reminder
        if due:
            words, phase = (text, BEGUN) if before is None else (f"Still so: {text}", LASTS)
            notices.append(notice(key, words, url, phase))
        known[key] = Told(text, now) if before is None or due else Told(text, before.at)
    notices += [Notice(over(key), _urgent(key), key, OVER) for key in told if key not in troubles]
    return known, notices


def notice(key: str, text: str, url: str, phase: str = "") -> Notice:
    """What people are told, with its runbook. ``key``: a trouble's, or the kind of what was done, without a phase."""
    return Notice(f"{text} {runbook.reference(key, url)}", _urgent(key), key if phase else "", phase)


def kind_of(key: str) -> str:
    """A trouble's, by its key."""
    return key.partition(" ")[0]


def _urgent(key: str) -> bool:
    return kind_of(key) in URGENT


def standing(
    decision: Decision,
    sightings: Mapping[str, Sighting],
    confirm_checks: int,
    jobs: Sequence[freshness.Job] = (),
    witness: Sighting | None = None,
    wall: float = 0.0,
) -> dict[str, str]:
    """Every trouble of this moment: a key that stays the same while it lasts -> its text.

    What a node has told of itself stands until it tells otherwise: its silence is the end of no trouble. ``witness``:
    T440's own jobs, as a probe of it would tell them; ``wall``: its wall clock, in seconds.
    """
    found = {}
    if decision.situation in NOT_SERVED | HELD_BACK:
        done = _HELD if decision.situation in HELD_BACK else _TRIES
        found["service"] = (
            f"Joe is not served as he should be: {decision.reason}. {done} What to do: 'dualjoe status' on T440 says"
            " what each node lacks."
        )
    if decision.situation == "unwritten":
        found["unwritten"] = (
            f"T440 cannot write down what it decides, so it does nothing of it: {decision.reason}. Joe is moved nowhere"
            " meanwhile, whatever happens. What to do on T440: make room ('df -h /var/lib/dualjoe', 'du -xh"
            " --max-depth=2 /'); 'journalctl -u dualjoe-watchdog' says what is wrong otherwise."
        )
    if decision.situation == "promised":
        found["witness"] = (
            f"No failover, although T440 would want one: {decision.reason}. Joe stays where he is. Look at T440's"
            " network."
        )
    pause = decision.record.pause
    if pause is not None:
        until = pause.ends_at.strftime("%Y-%m-%d %H:%M UTC")
        found["paused"] = (
            f"Paused until {until} by {pause.by} ({pause.reason}): nobody takes over meanwhile, whatever happens."
            " 'dualjoe resume' on T440 ends it."
        )
    for s in sightings.values():
        if s.failures >= confirm_checks and s.node != decision.record.holder:
            found[f"lost {s.node}"] = (
                f"{s.node} does not answer T440. Until it does, there is no second node to take over."
                " What to do: see that it is switched on and reaches the network."
            )
        if s.heard_at is not None:
            found.update(_of_node(s))
            found.update(_of_jobs(s, [job for job in jobs if not job.on_witness], wall))
    if witness is not None:
        found.update(_of_jobs(witness, [job for job in jobs if job.on_witness], wall))
    return found


def lasting(
    before: Mapping[str, str],
    decision: Decision,
    sightings: Mapping[str, Sighting],
    confirm_checks: int,
    jobs: Sequence[freshness.Job],
    witness: Sighting,
    *,
    wall: float,
) -> dict[str, str]:
    """Of the troubles that people were told of ``before`` T440's watch began anew, those that are not known to be over.

    A new watch has heard of nothing yet, and gives each job time before it misses it; neither is the end of a trouble.
    """
    seen = {name: _long_known(sighting) for name, sighting in sightings.items()}
    still = standing(decision, seen, confirm_checks, jobs, _long_known(witness), wall)
    all_known = all(s.heard_at is not None or s.failures >= confirm_checks for s in sightings.values())
    found = {}
    for key, text in before.items():
        named = [sightings[word] for word in key.split() if word in sightings]
        known = all(s.heard_at is not None for s in named) if named else all_known
        begun = witness.heard_at is not None and decision.situation not in STARTING
        if key in still or not (known and begun):
            found[key] = still.get(key, text)
    return found


def _long_known(sighting: Sighting) -> Sighting:
    if sighting.heard_at is None:
        return sighting
    return replace(sighting, boot_since=sighting.heard_at - freshness.SETTLED_SECONDS - 1)


def disk_full(folder: str, free_bytes: int) -> str:
    """T440 can soon write nothing any more."""
    return (
        f"The disk of T440 is full, or nearly: less than {free_bytes >> 20} MiB are free at {folder}. Joe goes on, but"
        " T440 moves him nowhere while it cannot write that down. Make room there: 'df -h', 'du -xh --max-depth=2'."
    )


def channels_down(down: Mapping[str, str]) -> dict[str, str]:
    """The channels that take no alerts, by their names -> why."""
    found = {}
    for name, why in down.items():
        found[f"channel {name}"] = (
            f"{name} takes no alerts: {why}. They are kept, and go there when it takes them; other channels get all of"
            " them. What to do: mend it, then 'dualjoe alert-test' on T440."
        )
    return found


def _of_node(sighting: Sighting) -> dict[str, str]:
    found = {}
    if sighting.probe.get("fit") is not True:
        why = "; ".join(map(str, sighting.probe.get("unfit", []))) or "it does not say why"
        found[f"unfit {sighting.node}"] = (
            f"{sighting.node} could not run the gateway now: {why}. Joe is not moved there meanwhile. What to do:"
            " mend that."
        )
    stray = sighting.probe.get("stray_seconds_ago")
    if stray is not None and stray < STRAY_SECONDS:
        found[f"stray {sighting.node}"] = (
            f"The gateway on {sighting.node} was started without a lease, and the guard has stopped it. To have Joe"
            " serve there, use 'dualjoe switchover' on T440; who started it is told by 'journalctl' there."
        )
    if sighting.probe.get("forced"):
        found[f"forced {sighting.node}"] = (
            f"{sighting.node} runs Joe on an operator's word, without a lease. T440 takes over now; nothing is to"
            " be done."
        )
    return found


def _of_jobs(sighting: Sighting, expected: Sequence[freshness.Job], wall: float) -> dict[str, str]:
    """What the jobs of a machine have failed at, have not done, and warn of."""
    found = {}
    for name, job in sorted((sighting.probe.get("jobs") or {}).items()):
        if not isinstance(job, dict):
            continue
        if job.get("result") in ("failed", "unreadable"):
            why = str(job.get("message") or "no reason given").rstrip(".")
            found[f"job {sighting.node} {name}"] = (
                f"Job {name} on {sighting.node} failed: {why}. It is tried again at its next time; all it has to say is"
                f" in /var/lib/dualjoe/jobs/{name}.json there."
            )
        warnings = job.get("warnings")
        for kind, text in warnings.items() if isinstance(warnings, dict) else ():
            if kind in snapshot_warnings.OF_SOURCE:  # told once, when both nodes find it
                found[f"warning {name} {kind}"] = f"Job {name} warns: {text}"
            else:
                found[f"warning {name} {kind} on {sighting.node}"] = f"Job {name} on {sighting.node} warns: {text}"
    return {**found, **freshness.overdue(expected, sighting, wall)}


def of_node(node: str, peer: str, witness_silent: float | None, forced: bool) -> dict[str, str]:
    """What a node tells by itself, because T440 cannot. ``witness_silent``: seconds since T440 was last heard, where
    that is too long."""
    found = {}
    if forced:
        found["forced"] = (
            f"{node} runs Joe on an operator's word, without a lease. Do not switch {peer} on before T440 is back: run"
            " site.yml for T440, and see 'dualjoe status' there."
        )
    if witness_silent is not None:
        found["witness"] = (
            f"{node} has not heard T440 for {witness_silent / 60:.0f} min. Joe goes on while {node} and {peer} hear"
            " each other, but nobody would take over, and nobody tells of a job that fails. Look at T440: power,"
            " network, 'systemctl status dualjoe-watchdog'."
        )
    return found


def over(key: str) -> str:
    """The end of a trouble."""
    kind, _, what = key.partition(" ")
    node, _, job = what.partition(" ")  # of a warning, the job and what it is
    ends = {
        "service": "Joe is served as he should be again.",
        "witness": "T440 and the nodes hear each other again.",
        "paused": "the pause. Joe is watched again.",
        "observing": "T440 moves Joe again when it must.",
        "stray": f"nothing runs without a lease on {node}.",
        "forced": "every gateway runs on a lease of T440 again.",
        "channel": f"{what} takes alerts again.",
        "disk": "T440's disk has room again.",
        "unwritten": "T440 writes down what it decides again.",
        "lost": f"{node} answers T440 again.",
        "unfit": f"{node} could run the gateway again.",
        "job": f"Job {job} on {node} works again.",
        "late": f"Job {job} on {node} runs as it should again.",
        "warning": f"job {node} warns no more of {job}.",
        "stale": f"what job {job} brings to {node} is new again.",
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
    else:
        parts.append("Nothing is to be done.")
    if data.get("published") is False:
        parts.append(f"The newest memory could not be published on {node}: see the job memory-publish there.")
    return " ".join(part for part in parts if part)


def not_ready(node: str, message: str) -> str:
    """A grant that came to nothing."""
    return (
        f"{node} was to run the gateway and could not: {message}. The other node is tried next. What to do: see"
        f" 'journalctl -u openclaw-gateway' on {node}."
    )


def not_synced(node: str, why: str, goes_on: bool) -> str:
    """The memory could not be fetched for a move to ``node``; the move goes on without it, or is taken back."""
    if goes_on:
        return f"Joe starts on {node} with the memory fetched last, as what came after could not be fetched: {why}."
    return f"The move to {node} was taken back: its memory could not be fetched ({why}). Joe serves where he was."


def not_converged(reason: str) -> str:
    """The run after a move, which looks at what surrounds it, failed or found something wrong."""
    look = "See 'dualjoe timeline' on T440; playbooks/after_move.yml looks again"
    return f"The check after Joe's last move failed: {reason}. {look}."
