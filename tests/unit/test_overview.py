"""The pair at a glance: who serves, how each machine is, what is wrong and the command for it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from dualjoe import doctor, overview, runbook, summary

NOW = "2026-11-24T06:10:00.000Z"
BOOT = "0" * 36


def probe(role: str, **more: Any) -> dict[str, Any]:
    state = "ready" if role == "active" else "stopped"
    return {
        "role": role,
        "stamp": f"{BOOT}:{round(100000e9)}",
        "epoch": 7,
        "gateway": {"state": state, "since": "2026-11-24T04:10:00Z", "detail": ""},
        "lease_left": 24.0 if role == "active" else None,
        "memory": {"generation": "g", "age_seconds": 240.0},
        "jobs": {"backup": job(98800, 98700), "config-check": job(99990)},
        "disk": {"free_bytes": 12 * 2**30, "total_bytes": 64 * 2**30},
        "fit": True,
        "unfit": [],
        "time": "2026-11-24T06:09:56Z",
        **more,
    }


def job(finished: float, captured: float | None = None, result: str = "ok", boot: str = BOOT) -> dict[str, Any]:
    clock = {"id": boot, "finished_seconds": finished, "captured_seconds": captured}
    return {"result": result, "boot": clock, "finished_at": "2026-11-24T03:10:00Z"}


def node(home: str, told: dict[str, Any], **more: Any) -> dict[str, Any]:
    common = {"home": home, "heard": True, "heard_seconds_ago": 4.0, "failures": 0, "silence": None, "busy": None}
    return {**common, "probe": told, **more}


def status(**more: Any) -> dict[str, Any]:
    moved = {"at": "2026-11-24T04:10:00.000Z", "kind": "failback", "node": "pc-a", "reason": "pc-a has been well"}
    return {
        "pair": "joe",
        "situation": "home",
        "reason": "pc-a serves",
        "since": "2026-11-24T04:10:00.000Z",
        "epoch": 7,
        "holder": "pc-a",
        "moved": moved,
        "stays_away": False,
        "mode": "act",
        "mode_setting": "act",
        "nodes": {
            "pc-a": node("primary", probe("active")),
            "pc-b": node("standby", probe("passive")),
        },
        "witness": {
            "stamp": f"{BOOT}:{round(100000e9)}",
            "jobs": {"drill": job(0)},
            "disk": {"free_bytes": 2**30, "total_bytes": 2**36},
        },
        "standing": {},
        "alert_channels": ["telegram"],
        "alerts_waiting": 0,
        "time": NOW,
        **more,
    }


def with_node(name: str, told: dict[str, Any], **more: Any) -> dict[str, Any]:
    nodes = status()["nodes"]
    return {**nodes, name: {**nodes[name], "probe": {**nodes[name]["probe"], **told}, **more}}


def not_heard(ago: float | None) -> dict[str, Any]:
    """The holder, silent for so many seconds; None: it was not heard since T440 began to look."""
    return with_node("pc-a", {}, heard=False, heard_seconds_ago=ago)


def test_one_screen_says_who_is_active_since_when_and_why_and_how_each_machine_is() -> None:
    seen = overview.of(status())
    assert (seen.level, seen.findings) == ("ok", ())
    assert re.fullmatch(r"Joe runs on pc-a since [\d :-]+ \(2 h\), by a failback: pc-a has been well", seen.serving)
    a, b, t440 = seen.machines
    assert a.facts == {
        "state": "active",
        "gateway": "ready for 2 h",
        "lease": "20 s left",  # 24 s when it was heard 4 s ago
        "memory": "live",
        "backup": "22 min old",
        "config guard": "ok 0 min ago",
        "disk free": "12.0 GiB of 64.0 GiB",
    }
    assert (b.facts["memory"], b.facts["state"]) == ("4 min old", "passive")
    assert t440.facts == {"state": "watching", "drill": "ok 28 h ago", "disk free": "1.0 GiB of 64.0 GiB"}


@pytest.mark.parametrize(
    ("change", "level", "said", "remedy"),
    [
        (
            {"situation": "nobody_fit", "holder": None, "standing": {"service": "Joe is not served."}},
            "critical",
            "Joe is not served.",
            "dualjoe timeline",
        ),
        ({"holder": None, "situation": "fencing", "reason": "why"}, "critical", "Nobody is known to serve", "watch"),
        ({"holder": None, "situation": "starting", "reason": "why"}, "warning", "Nobody is known to serve", "watch"),
        ({"situation": "missed", "nodes": not_heard(None)}, "warning", "Nobody is known to serve", "watch"),
        ({"situation": "missed", "nodes": not_heard(12.0)}, "critical", "Nobody is known to serve", "watch"),
        ({"situation": "silent", "nodes": not_heard(None)}, "critical", "Nobody is known to serve", "watch"),
        ({"standing": {"disk": "The disk of T440 is full"}}, "critical", "is full", "df -h"),
        ({"standing": {"unwritten": "T440 cannot write"}}, "critical", "cannot write", "df -h"),
        ({"standing": {"lost pc-b": "pc-b does not answer T440."}}, "warning", "does not answer", "switch pc-b on"),
        ({"standing": {"paused": "Paused until"}}, "warning", "Paused", "dualjoe resume"),
        ({"standing": {"unfit pc-b": "pc-b could not"}}, "warning", "could not", "on pc-b: dualjoe status"),
        ({"standing": {"stray pc-b": "was started"}}, "warning", "was started", "switchover --to pc-b"),
        ({"standing": {"witness": "No failover"}}, "warning", "No failover", "ping -c 3 pc-a"),
        ({"standing": {"job pc-b memory-sync": "failed"}}, "warning", "failed", "on pc-b: dualjoe sync"),
        ({"standing": {"job T440 drill": "failed"}}, "warning", "failed", "on T440: dualjoe-restore drill"),
        ({"standing": {"late pc-b backup": "no run"}}, "warning", "no run", "on pc-b: systemctl status cron"),
        ({"standing": {"stale pc-a backup": "is old"}}, "warning", "is old", "on pc-a: sudo -u dualjoe-backup"),
        ({"standing": {"warning backup unsteady": "warns"}}, "warning", "warns", "on either node: sudo"),
        ({"standing": {"warning backup dropped on pc-b": "warns"}}, "warning", "warns", "on pc-b: sudo"),
        ({"standing": {"of tomorrow": "Something new."}}, "warning", "Something new.", "dualjoe doctor"),
        ({"mode": "observe"}, "warning", "only observes", "dualjoe observe off"),
        ({"mode": "observe", "standing": {"observing": "told"}}, "warning", "told", "dualjoe observe off"),
        ({"alerts_waiting": 3}, "warning", "3 alert(s)", "dualjoe alert-test"),
        ({"alert_channels": []}, "warning", "No alert can reach anybody", "watchdog_telegram_token"),
        ({"stays_away": True}, "ok", "Joe stays on the standby", "dualjoe failback"),
        (
            {"nodes": with_node("pc-a", {"gateway": {"state": "unready", "detail": "telegram is down"}})},
            "warning",
            "telegram is down",
            "on pc-a: journalctl -u openclaw-gateway",
        ),
        (
            {"nodes": with_node("pc-a", {"peer": "pc-b", "peer_reachable": False})},
            "warning",
            "pc-a does not reach pc-b",
            "on pc-a: journalctl -u dualjoe-guard",
        ),
        (
            {"nodes": with_node("pc-b", {"time": "2026-11-24T06:10:30Z"})},
            "warning",
            "34 s ahead of T440",
            "timedatectl",
        ),
        ({"nodes": with_node("pc-b", {"time": "2026-11-24T06:09:01Z"})}, "warning", "55 s behind T440", "timedatectl"),
    ],
)
def test_what_is_wrong_comes_with_its_level_and_the_command_for_it(
    change: dict[str, Any], level: str, said: str, remedy: str
) -> None:
    seen = overview.of(status(**change))
    assert seen.level == level
    (found,) = seen.findings
    assert said in found.what
    assert remedy in found.remedy
    assert [f"  {summary.MARKS[level]} {found.what}", f"      {found.remedy}"] == summary.of_overview(seen)[-2:]


DONE = {"failover", "failback", "switchover", "start", "not_ready", "not_synced", "not_converged", "digest"}


@pytest.mark.parametrize("kind", sorted(set(runbook.SECTIONS) - DONE))
def test_each_trouble_that_t440_alerts_of_has_a_command_of_its_own(kind: str) -> None:
    (found,) = overview.of(status(standing={f"{kind} pc-b backup": "It is so."})).findings
    assert found.remedy != "dualjoe doctor"


@pytest.mark.parametrize("skew", ["2026-11-24T06:10:00Z", "2026-11-24T06:09:52Z"])
def test_clocks_that_differ_by_a_little_are_no_trouble(skew: str) -> None:
    assert overview.of(status(nodes=with_node("pc-b", {"time": skew}))).findings == ()


def test_the_worst_comes_first_and_marks_its_machine() -> None:
    seen = overview.of(status(standing={"lost pc-b": "pc-b is silent.", "disk": "T440 is full."}, alerts_waiting=1))
    assert [found.level for found in seen.findings] == ["critical", "warning", "warning"]
    assert [(machine.name, machine.level) for machine in seen.machines] == [
        ("pc-a", "ok"),
        ("pc-b", "warning"),
        ("T440", "critical"),
    ]
    assert summary.in_one_line(seen) == "CRITICAL - joe: T440 is full. (and 2 more)"


def test_a_silent_node_shows_since_when_and_nothing_of_before() -> None:
    silent = {"heard": False, "heard_seconds_ago": 61.2, "silence": "pc-b: Connection refused"}
    seen = overview.of(status(nodes=with_node("pc-b", {}, **silent)))
    assert seen.machines[1].facts == {"state": "silent for 61 s", "why": "pc-b: Connection refused"}
    never = overview.of(status(nodes=with_node("pc-b", {}, heard=False, heard_seconds_ago=None)))
    assert never.machines[1].facts == {"state": "silent", "why": "not asked yet"}


@pytest.mark.parametrize(
    ("told", "lease"),
    [
        ({"forced": True}, "none: it runs on an operator's word"),
        ({"paused_left": 3600.0}, "paused, 60 min left"),
        ({"lease_left": 1.0}, "0 s left"),
        ({"lease_left": None}, "unknown"),
    ],
)
def test_the_lease_says_on_what_joe_runs(told: dict[str, Any], lease: str) -> None:
    assert overview.of(status(nodes=with_node("pc-a", told))).machines[0].facts["lease"] == lease


def test_what_a_job_did_before_this_boot_is_dated_by_the_wall_clock() -> None:
    jobs = {"rehearsal": job(5, boot="1" * 36, result="failed"), "backup-verify": {"result": "ok"}, "config-check": "x"}
    facts = overview.of(status(nodes=with_node("pc-b", {"jobs": jobs}))).machines[1].facts
    assert (facts["rehearsal"], facts["verified"]) == ("failed 3 h ago", "ok")
    assert "config guard" not in facts


def test_an_old_or_strange_probe_is_shown_as_far_as_it_goes() -> None:
    bare = {"role": "active", "stamp": "x", "gateway": {"state": "ready"}, "fit": True, "unfit": []}
    seen = overview.of(status(moved=None, nodes={**status()["nodes"], "pc-a": node("primary", bare)}, witness={}))
    assert seen.serving == "Joe runs on pc-a"
    assert seen.machines[0].facts == {"state": "active", "gateway": "ready", "lease": "unknown", "memory": "live"}


@pytest.mark.parametrize(
    "nonsense",
    [
        {"role": None, "gateway": "x"},
        {"lease_left": "soon"},
        {"memory": [1]},
        {"gateway": {"state": "ready", "since": "yesterday"}},
        {"disk": {"free_bytes": "much"}},
        {"disk": {"free_bytes": 1, "total_bytes": None}},
        {"unfit": 7, "fit": False},
        {"time": "now"},
        {"jobs": "none"},
        {"gateway": None},
    ],
)
def test_a_node_that_tells_nonsense_blinds_nobody(nonsense: dict[str, Any]) -> None:
    told = status(nodes=with_node("pc-a", nonsense), holder="pc-b", reason="pc-b serves")
    told["nodes"]["pc-b"]["probe"].update(role="active", gateway={"state": "ready"})
    seen = overview.of(told)
    assert "Joe runs on pc-b" in seen.serving
    assert "not understood" in seen.machines[0].facts["why"]
    (found,) = seen.findings
    assert (found.level, found.where, "on pc-a: " in found.remedy) == ("warning", "pc-a", True), "it is not well"
    assert found in (doctor.examine(doctor.Facts(status=told))["pair"] or ())
    assert doctor.examine(doctor.Facts(status=told))["disks"] == ()


def test_what_others_tell_moves_no_cursor() -> None:
    hostile = "\x1b[2J\x1b]0;owned\x07\u202eevil\n"
    told = status(
        reason=hostile, standing={"unfit pc-b": hostile}, nodes=with_node("pc-b", {"unfit": [hostile], "fit": False})
    )
    event = {"at": NOW, "kind": hostile, "node": "pc-b", "reason": hostile, "data": {"seconds": hostile}}
    seen = overview.of(told)
    lines = [*summary.of_overview(seen), summary.in_one_line(seen), summary.of_event(event)]
    assert "owned" in "".join(lines)
    assert [line for line in lines if not line.isprintable()] == []


@pytest.mark.parametrize(
    ("data", "took"),
    [
        ({}, ""),
        (
            {"detection_seconds": 12.04, "wait_seconds": 23, "start_seconds": 4.5},
            " (noticed after 12.0 s, waited 23.0 s, ready after 4.5 s)",
        ),
        ({"silent_seconds": 190.0}, " (silent for 190.0 s)"),
        ({"seconds": 31.0}, " (took 31.0 s)"),
    ],
)
def test_an_event_says_how_long_it_took(data: dict[str, Any], took: str) -> None:
    event = {"at": NOW, "kind": "failover", "node": "pc-b", "reason": "pc-a has been silent", "data": data}
    assert summary.of_event(event).endswith(f"  failover     pc-b     pc-a has been silent{took}")
