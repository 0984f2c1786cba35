"""The pair at a glance: what each machine says of itself, what is wrong, and the command for it. Pure.

Command, playbooks and web page show this; what they say of the pair is said here, from the watchdog's answer to
``status``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from . import alerts, freshness

OK, WARNING, CRITICAL, UNKNOWN = "ok", "warning", "critical", "unknown"
LEVELS = (OK, WARNING, CRITICAL, UNKNOWN)  # their places are the exit codes that monitoring knows
WITNESS = "T440"
SKEW_SECONDS = 5.0  # clocks that differ by more make times of files and timelines lie; probes tell whole seconds
SERVING = ("ready", "unready")


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, or that people should know of (``level`` ok). ``what`` says where and why too;
    ``remedy`` is the next command, or what to do, on which machine."""

    level: str
    where: str
    what: str
    remedy: str


NO_CHANNEL = Finding(
    WARNING,
    WITNESS,
    "No alert can reach anybody: no channel is configured.",
    "watchdog_telegram_token and watchdog_telegram_chat_id; then on the controller: ansible-playbook site.yml",
)


@dataclass(frozen=True)
class Machine:
    """One of the three. ``facts``: what is known of it -> in words for people, in the order in which it is shown."""

    name: str
    home: str
    level: str
    facts: Mapping[str, str]


@dataclass(frozen=True)
class Overview:
    """``headline``: one line that says how the pair is; ``serving``: who is active, since when and why."""

    pair: str
    level: str
    headline: str
    serving: str
    machines: tuple[Machine, ...]
    findings: tuple[Finding, ...]


def of(status: Mapping[str, Any]) -> Overview:
    """What the watchdog's ``status`` amounts to."""
    status = understood(status)
    found = tuple(sorted(_findings(status), key=lambda each: -LEVELS.index(each.level)))
    level = found[0].level if found else OK
    machines = (*(_node(name, status, found) for name in sorted(status["nodes"])), _witness(status, found))
    headline = f"{status['situation']}, {status['reason']} (epoch {status['epoch']})"
    return Overview(status["pair"], level, headline, serving(status), machines, found)


def understood(status: Mapping[str, Any]) -> Mapping[str, Any]:
    """The status, with a node whose probe makes no sense as a silent one: a node in the wrong hands blinds nobody."""
    return {**status, "nodes": {name: _understood(name, node, status) for name, node in status["nodes"].items()}}


def _understood(name: str, node: Mapping[str, Any], status: Mapping[str, Any]) -> Mapping[str, Any]:
    if not node["heard"]:
        return node
    try:
        tuple(_facts(node, status)), tuple(_of_node(name, node, status))
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        return {**node, "heard": False, "odd": True, "silence": f"what it tells of itself is not understood: {error!r}"}
    return node


def serving(status: Mapping[str, Any]) -> str:
    """Who is active, since when and why."""
    node = _serving_node(status)
    if node is None:
        return f"nobody serves Joe, since {local(status['since'])}: {status['reason']}"
    moved = status.get("moved")
    if not moved or moved["node"] != node:
        return f"Joe runs on {node}"
    ago = _ago(moved["at"], status["time"])
    return f"Joe runs on {node} since {local(moved['at'])} ({ago}), by a {moved['kind']}: {moved['reason']}"


def local(moment: str) -> str:
    """A moment of the data (UTC, ISO 8601) in local time, for people."""
    return f"{_moment(moment).astimezone():%Y-%m-%d %H:%M:%S}"


def _serving_node(status: Mapping[str, Any]) -> str | None:
    node = status["nodes"].get(status["holder"])
    serves = node and node["heard"] and node["probe"]["role"] == "active"
    return status["holder"] if serves and node["probe"]["gateway"]["state"] in SERVING else None


def situation(status: Mapping[str, Any]) -> str:
    """The word for it; T440 is also starting while a holder of record had no time yet to answer a watch that has begun
    anew. The checks that confirm a silence end that."""
    holder = status["nodes"].get(status["holder"])
    unheard = holder is not None and holder["heard_seconds_ago"] is None
    return "starting" if status["situation"] == "missed" and unheard else str(status["situation"])


# ---- what each machine says


def _node(name: str, status: Mapping[str, Any], found: tuple[Finding, ...]) -> Machine:
    node = status["nodes"][name]
    facts = dict(_facts(node, status) if node["heard"] else _silence(node))
    return Machine(name, node["home"], _level(name, found), facts)


def _silence(node: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    ago = node["heard_seconds_ago"]
    yield "state", "silent" if ago is None else f"silent for {ago:.0f} s"
    yield "why", node["silence"] or "not asked yet"


def _facts(node: Mapping[str, Any], status: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    probe, now = node["probe"], status["time"]
    active = probe["role"] == "active"
    yield "state", probe["role"] + (f", {node['busy']} under way" if node.get("busy") else "")
    gateway = probe["gateway"]
    yield "gateway", gateway["state"] + (f" for {_ago(gateway['since'], now)}" if gateway.get("since") else "")
    if active:
        yield "lease", _lease(node)
    age = probe.get("memory", {}).get("age_seconds")
    yield "memory", "live" if active else _memory(age)
    saved = freshness.captured_age("backup", probe)
    if saved is not None:
        yield "backup", f"{freshness.in_words(saved)} old"
    for label, job in (("verified", "backup-verify"), ("config guard", "config-check"), ("rehearsal", "rehearsal")):
        if told := _job(job, probe, now):
            yield label, told
    if room := probe.get("disk"):
        yield "disk free", _room(room)
    if not probe["fit"]:
        yield "fit", "NOT FIT: " + "; ".join(probe["unfit"])


def _lease(node: Mapping[str, Any]) -> str:
    probe = node["probe"]
    if probe.get("forced"):
        return "none: it runs on an operator's word"
    if probe.get("paused_left"):
        return f"paused, {freshness.in_words(probe['paused_left'])} left"
    left = probe.get("lease_left")
    return "unknown" if left is None else f"{max(0.0, left - (node['heard_seconds_ago'] or 0)):.0f} s left"


def _memory(age: float | None) -> str:
    if age is None:
        return "of unknown age"
    return f"{age:.0f} s old" if age < 120 else f"{freshness.in_words(age)} old"


def _job(name: str, probe: Mapping[str, Any], now: str) -> str:
    """How a job's last run ended, and how long ago; '' where there was none."""
    told = probe.get("jobs", {}).get(name)
    if not isinstance(told, dict) or not told.get("result"):  # a job may leave details in a file beside it
        return ""
    ago = freshness.finished_age(name, probe, _moment(now).timestamp())
    return f"{told['result']}" + ("" if ago is None else f" {freshness.in_words(ago)} ago")


def _witness(status: Mapping[str, Any], found: tuple[Finding, ...]) -> Machine:
    probe = status.get("witness", {})
    facts = {"state": "only observing" if status["mode"] == "observe" else "watching"}
    for name in sorted(probe.get("jobs", {})):
        if told := _job(name, probe, status["time"]):
            facts[name] = told
    if room := probe.get("disk"):
        facts["disk free"] = _room(room)
    return Machine(WITNESS, "witness", _level(WITNESS, found), facts)


def _level(machine: str, found: tuple[Finding, ...]) -> str:
    return next((each.level for each in found if each.where == machine), OK)


# ---- what is wrong


def _findings(status: Mapping[str, Any]) -> Iterator[Finding]:
    standing: Mapping[str, str] = status.get("standing", {})
    serves = _serving_node(status)
    if serves is None and "service" not in standing:
        level = WARNING if situation(status) in alerts.STARTING else CRITICAL
        yield Finding(level, WITNESS, f"Nobody is known to serve Joe: {status['reason']}.", "dualjoe watch")
    for key, text in standing.items():
        yield _of_trouble(key, text, status)
    for name, node in sorted(status["nodes"].items()):
        yield from _of_node(name, node, status)
    if status["mode"] == "observe" and "observing" not in standing:
        told = "T440 only observes: nobody is moved unless you ask for it."
        yield Finding(WARNING, WITNESS, told, "dualjoe observe off")
    if not status.get("alert_channels", True):
        yield NO_CHANNEL
    if status["alerts_waiting"]:
        told = f"{status['alerts_waiting']} alert(s) have not been taken yet, so nobody may have read them."
        yield Finding(WARNING, WITNESS, told, "dualjoe alert-test")
    if status["stays_away"]:
        yield Finding(OK, WITNESS, "Joe stays on the standby until a failback is asked for.", "dualjoe failback")


def _of_node(name: str, node: Mapping[str, Any], status: Mapping[str, Any]) -> Iterator[Finding]:
    if node.get("odd"):  # T440 hears it, and misses nothing
        remedy = f"on {name}: dualjoe status; systemctl status dualjoe-guard"
        yield Finding(WARNING, name, f"Nothing can be said of {name}: {node['silence']}.", remedy)
    if not node["heard"]:
        return
    probe = node["probe"]
    if probe["gateway"]["state"] == "unready":
        told = f"The gateway on {name} answers and is not ready: {probe['gateway'].get('detail') or 'no reason given'}."
        yield Finding(WARNING, name, told, f"on {name}: journalctl -u openclaw-gateway -n 50")
    if probe.get("peer_reachable") is False and status["nodes"].get(probe.get("peer"), {}).get("heard"):
        told = f"{name} does not reach {probe['peer']}, though both answer T440: without T440 Joe would stop."
        yield Finding(
            WARNING, name, told, f"on {name}: journalctl -u dualjoe-guard -n 50; then the network between them"
        )
    skew = clock_skew(node, status)
    if skew is not None and abs(skew) > SKEW_SECONDS:
        told = f"The clock of {name} is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} T440's."
        yield Finding(WARNING, name, told, f"on {name} and on T440: timedatectl; then 'timedatectl set-ntp true'")


def clock_skew(node: Mapping[str, Any], status: Mapping[str, Any]) -> float | None:
    """By how many seconds a node's wall clock was ahead of T440's when it was heard last, to a second or so."""
    told, ago = node["probe"].get("time"), node["heard_seconds_ago"]
    return None if told is None or ago is None else (_moment(told) - _moment(status["time"])).total_seconds() + ago


def _of_trouble(key: str, text: str, status: Mapping[str, Any]) -> Finding:
    """What T440 alerts of, with the command for it. The keys are those of ``alerts``."""
    kind, _, rest = key.partition(" ")
    where, _, job = rest.partition(" ")
    if kind == "warning":
        job, (_, _, on) = where, rest.partition(" on ")
        return Finding(WARNING, on or WITNESS, text, again(job, on or "either node"))
    level = CRITICAL if kind in ("service", "disk", "unwritten") else WARNING
    remedies = {
        "service": "dualjoe timeline --limit 20",
        "witness": f"on T440: ip -brief address; ping -c 3 {status['holder']}",
        "paused": "dualjoe resume",
        "observing": "dualjoe observe off",
        "disk": "on T440: df -h; du -xh --max-depth=2 /var",
        "unwritten": "on T440: df -h; journalctl -u dualjoe-watchdog -n 50",
        "channel": "dualjoe alert-test",
        "lost": f"switch {where} on; on it: systemctl status dualjoe-guard ssh",
        "unfit": f"on {where}: dualjoe status",
        "stray": f"dualjoe switchover --to {where}, to have Joe serve there",
        "forced": "dualjoe watch",
        "job": again(job, where),
        "late": f"on {where}: systemctl status cron; ls -l /etc/cron.d",
        "stale": again(job, where),
    }
    machine = where if where in status["nodes"] else WITNESS
    return Finding(level, machine, text, remedies.get(kind, "dualjoe doctor"))


_COMMANDS = {
    "memory-sync": "dualjoe sync, as the gateway's user",
    "memory-publish": "journalctl -u dualjoe-memory-publish -n 50",
    "config-check": "dualjoe config check, as the gateway's user",
    "rehearsal": "dualjoe rehearse",
    "backup": "sudo -u dualjoe-backup dualjoe backup",
    "backup-verify": "sudo -u dualjoe-backup dualjoe backup verify",
    "backup-offsite": "sudo -u dualjoe-backup dualjoe backup offsite",
    "drill": "dualjoe-restore drill",
}


def again(job: str, where: str) -> str:
    """How to run a job now, or to see what it said."""
    return f"on {where}: {_COMMANDS.get(job, f'cat /var/lib/dualjoe/jobs/{job}.json')}"


# ---- words


def in_bytes(count: float) -> str:
    """A size for people."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def _room(disk: Mapping[str, int]) -> str:
    return f"{in_bytes(disk['free_bytes'])} of {in_bytes(disk['total_bytes'])}"


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _ago(moment: str, now: str) -> str:
    return freshness.in_words(max(0.0, (_moment(now) - _moment(moment)).total_seconds()))
