"""`dualjoe doctor`: each fault that is planted is found, and comes with its remedy; what is well is left alone."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from dualjoe import control, doctor, installed, overview, summary
from dualjoe.doctor import Facts, File, Reach, Unit
from dualjoe.freshness import Job
from dualjoe.overview import Finding
from dualjoe_watchdog import cli, facts
from dualjoe_watchdog.settings import NodeSettings
from test_overview import BOOT, job, node, probe, status, with_node
from watchdog_pair import BotApi, Pair

LIBRARY = "0123456789ab"
JOBS = (
    Job("memory-sync", 300, "Joe's memory"),
    Job("backup", 3600, "T440's data"),
    Job("drill", 604800, on_witness=True),
)
KEY = File("/etc/dualjoe/keys/witness", "0600", "dualjoe:dualjoe", "0600", "dualjoe:dualjoe")
WATCHDOG = Unit("dualjoe-watchdog.service", "active", "enabled")
CRON = Unit("cron.service", "active", "enabled")
REACH = Reach("pc-b", "192.0.2.12", 22, "answered")


def pair(**more: Any) -> dict[str, Any]:
    """A watchdog's status with nothing wrong in it."""
    told = {"library": LIBRARY, "jobs": {"backup": job(98800, 98700), "memory-sync": job(99900, 99900)}}
    nodes = {"pc-a": node("primary", probe("active", **told)), "pc-b": node("standby", probe("passive", **told))}
    return status(**{"nodes": nodes, "witness": witness(), **more})


def witness(**more: Any) -> dict[str, Any]:
    known = {"stamp": f"{BOOT}:{round(100000e9)}", "jobs": {"drill": job(0)}, "library": LIBRARY}
    return {**known, "disk": {"free_bytes": 2**35, "total_bytes": 2**36}, **more}


def node_says(name: str, **told: Any) -> dict[str, Any]:
    nodes = pair()["nodes"]
    return pair(nodes={**nodes, name: {**nodes[name], "probe": {**nodes[name]["probe"], **told}}})


WELL = Facts(
    status=pair(),
    jobs=JOBS,
    files=[KEY],
    pinned=frozenset({"[192.0.2.12]:22", "192.0.2.12"}),
    units=[WATCHDOG, CRON],
    cron_files={"/etc/cron.d/dualjoe-drill": True},
    reaches=[REACH],
    disks={"/": (2**35, 2**36)},
    synchronised=True,
    library=LIBRARY,
    locked={"rich": "15.0.0"},
    installed={"rich": "15.0.0", "pip": "25"},
    alert="",
    containers=["web", "notes"],
    saved=["notes"],
)


def found(seen: Facts) -> list[Finding]:
    return [finding for findings in doctor.examine(seen).values() for finding in findings or ()]


def test_a_set_up_that_is_well_is_left_alone() -> None:
    assert found(WELL) == []
    assert doctor.level(doctor.examine(WELL)) == "ok"
    assert summary.of_examination(doctor.examine(WELL))[:2] == [
        "settings: as it should be",
        "services: as it should be",
    ]


FAULTS: dict[str, tuple[dict[str, Any], str, str]] = {
    # fault: (what is seen of it, what is said of it, the remedy)
    "a mistake in the settings": ({"mistakes": ["ttl: too short"]}, "ttl: too short", "site.yml"),
    "a watchdog that is dead": (
        {"units": [replace(WATCHDOG, active="failed"), CRON]},
        "dualjoe-watchdog.service does not run on T440: it is failed",
        "systemctl start dualjoe-watchdog.service",
    ),
    "a watchdog that hangs": (
        {"status": None, "silence": "no answer at /run/dualjoe/watchdog.sock"},
        "cannot be asked: no answer",
        "journalctl -u dualjoe-watchdog",
    ),
    "a watchdog that dies again and again": (
        {"units": [replace(WATCHDOG, restarts=9)]},
        "started again 9 times",
        "journalctl -u dualjoe-watchdog",
    ),
    "a watchdog that does not return after a boot": (
        {"units": [replace(WATCHDOG, enabled="disabled")]},
        "would not run after T440's next boot",
        "systemctl enable dualjoe-watchdog.service",
    ),
    "cron stopped on T440": (
        {"units": [WATCHDOG, replace(CRON, active="inactive")]},
        "cron.service does not run on T440",
        "systemctl start cron.service",
    ),
    "Docker gone from T440": (
        {"units": [Unit("docker.service", "", "")]},
        "docker.service does not run on T440: it is not there",
        "systemctl start docker.service",
    ),
    "a damaged record": ({"store": "/x: malformed"}, "cannot be trusted: /x: malformed", "before anything is removed"),
    "a key that is gone": ({"files": [replace(KEY, mode="")]}, "keys/witness is missing", "--tags common,watchdog"),
    "a key that all may read": (
        {"files": [replace(KEY, mode="0644")]},
        "may be read or written by more than it should: its mode is 0644",
        "chmod 0600 /etc/dualjoe/keys/witness",
    ),
    "a key of another user": (
        {"files": [replace(KEY, owner="joe:joe")]},
        "belongs to joe:joe, and should to dualjoe:dualjoe",
        "chown dualjoe:dualjoe /etc/dualjoe/keys/witness",
    ),
    "a host key that is not pinned": ({"pinned": frozenset()}, "No host key of pc-b", "--tags common"),
    "a port that is closed": (
        {"reaches": [replace(REACH, kind="refused", detail="refused")]},
        "nothing listens at port 22",
        "on pc-b: systemctl status ssh",
    ),
    "a firewall in between": (
        {"reaches": [replace(REACH, kind="timeout", detail="TimeoutError")]},
        "nothing comes back",
        "ping -c 3 192.0.2.12",
    ),
    "another machine at a node's address": (
        {"reaches": [replace(REACH, kind="host_key", detail="not trusted")]},
        "not the one that was pinned",
        "find out who answers at 192.0.2.12",
    ),
    "a key that a node no longer takes": (
        {"reaches": [replace(REACH, kind="key", detail="denied")]},
        "does not take the watchdog's key",
        "site.yml --tags common",
    ),
    "a guard that does not answer behind SSH": (
        {"reaches": [replace(REACH, kind="other", detail="no socket")]},
        "does not answer as a guard does (no socket)",
        "systemctl status dualjoe-guard",
    ),
    "T440's clock on its own": ({"synchronised": False}, "follows no time server", "timedatectl set-ntp true"),
    "a node's clock that is off": (
        {"status": node_says("pc-b", time="2026-11-24T06:12:00Z")},
        "The clock of pc-b is 124 s ahead",
        "timedatectl",
    ),
    "a full disk of T440": ({"disks": {"/var": (2**30, 2**36)}}, "Only 1.0 GiB of 64.0 GiB are free", "df -h"),
    "a full disk of a node": (
        {"status": node_says("pc-a", disk={"free_bytes": 2**20, "total_bytes": 2**36})},
        "Only 1 MiB of 64.0 GiB are free at /var/lib/dualjoe on pc-a",
        "on pc-a: df -h",
    ),
    "a package that is missing": ({"installed": {"pip": "25"}}, "rich not at all, not 15.0.0", "--tags watchdog"),
    "a package of another version": ({"installed": {"rich": "9"}}, "rich 9, not 15.0.0", "--tags watchdog"),
    "a watchdog of before the upgrade": (
        {"status": pair(witness=witness(library="ffff"))},
        "other code than is installed",
        "systemctl restart dualjoe-watchdog",
    ),
    "a node of another version": (
        {"status": node_says("pc-b", library="ffff")},
        "The guard of pc-b runs another version",
        "site.yml --limit pc-b",
    ),
    "cron that does not fire on a node": (
        {"status": node_says("pc-b", jobs={"backup": job(98800), "memory-sync": job(90000)})},
        "Job memory-sync on pc-b has ended no run for 3 h, and should every 5 min",
        "on pc-b: systemctl status cron",
    ),
    "a job that never ran": (
        {"status": node_says("pc-b", jobs={"backup": job(98800)})},
        "Job memory-sync has never ended a run on pc-b",
        "on pc-b: systemctl status cron",
    ),
    "a drill long ago": (
        {"status": pair(witness=witness(stamp=f"{BOOT}:{round(2e6 * 1e9)}"))},
        "Job drill on T440 has ended no run for 23 days",
        "on T440: systemctl status cron",
    ),
    "a cron file that was removed": (
        {"cron_files": {"/etc/cron.d/dualjoe-drill": False}},
        "/etc/cron.d/dualjoe-drill is missing",
        "--tags backup",
    ),
    "a job that fails": (
        {"status": pair(standing={"job pc-a backup": "Job backup on pc-a failed: no route."})},
        "Job backup on pc-a failed: no route.",
        "on pc-a: sudo -u dualjoe-backup dualjoe backup",
    ),
    "a standby without memory": (
        {"status": node_says("pc-b", memory={"generation": None})},
        "pc-b has no copy of Joe's memory",
        "on pc-b: dualjoe sync",
    ),
    "a node that is unfit": (
        {"status": pair(standing={"unfit pc-b": "pc-b could not run the gateway now: no config."})},
        "no config",
        "on pc-b: dualjoe status",
    ),
    "nodes that do not reach each other": (
        {"status": node_says("pc-a", peer="pc-b", peer_reachable=False)},
        "pc-a does not reach pc-b",
        "on pc-a: journalctl -u dualjoe-guard",
    ),
    "a pause that was forgotten": (
        {"status": pair(standing={"paused": "Paused until tomorrow by ada."})},
        "Paused until tomorrow by ada.",
        "dualjoe resume",
    ),
    "observe mode that was forgotten": ({"status": pair(mode="observe")}, "only observes", "dualjoe observe off"),
    "nothing of T440 that is saved": (
        {"saved": ()},
        "No container of T440 is saved: notes, web.",
        "containers_list",
    ),
    "many containers of T440, and none saved": (
        {"containers": list("gfedcba"), "saved": (), "left_out": ["a"]},
        "No container of T440 is saved: b, c, d, e, f and 1 more.",
        "backup_ignore",
    ),
    "alerts that go nowhere": (
        {"alerts_configured": False, "status": pair(alert_channels=[])},
        "no channel is configured",
        "watchdog_telegram_token",
    ),
    "an alert that does not arrive": ({"alert": "not taken yet"}, "did not arrive: not taken yet", "journalctl"),
    "alerts that pile up": ({"status": pair(alerts_waiting=4)}, "4 alert(s)", "dualjoe alert-test"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_planted_fault_is_found_with_its_remedy_and_nothing_else(fault: str) -> None:
    seen, said, remedy = FAULTS[fault]
    (finding,) = found(replace(WELL, **seen))
    assert finding.level != "ok"
    assert said in finding.what
    assert remedy in finding.remedy
    assert summary.of_finding(finding)[1].strip() == finding.remedy


@pytest.mark.parametrize(
    ("unseen", "subjects"),
    [
        ({"mistakes": ["ttl: x"]}, {"services", "watchdog", "keys", "ways to the nodes", "disks", "cron", "alerts"}),
        ({"status": None, "silence": "gone"}, {"pair", "disks", "versions", "cron", "memory"}),
        ({"pinned": None}, {"ways to the nodes"}),
        ({"synchronised": None}, {"clocks"}),
        ({"library": ""}, {"versions"}),
        ({"locked": {}}, {"versions"}),
        ({"saved": None}, {"backups"}),
        ({"containers": None}, {"backups"}),
    ],
)
def test_what_could_not_be_looked_at_is_not_called_well(unseen: dict[str, Any], subjects: set[str]) -> None:
    examined = doctor.examine(replace(WELL, **unseen))
    assert {name for name, findings in examined.items() if findings is None} == subjects
    assert doctor.level(examined) != "ok"
    assert summary.of_examination({"clocks": None}) == ["clocks: cannot be told"]


def test_what_was_found_is_told_also_where_not_all_could_be_looked_at() -> None:
    full = replace(WELL, status=None, disks={"/var": (2**30, 2**36)})
    assert [finding.what[:9] for finding in doctor.examine(full)["disks"] or ()] == ["Only 1.0 "]


@pytest.mark.parametrize("status", [None, pair(alert_channels=[])], ids=["silent", "told"])
def test_alerts_that_go_nowhere_are_told_of_where_alerts_are_looked_at(status: dict[str, Any] | None) -> None:
    examined = doctor.examine(replace(WELL, status=status, alerts_configured=False))
    assert examined["alerts"] == (overview.NO_CHANNEL,)


def test_a_job_that_is_not_yet_due_after_a_boot_is_no_trouble() -> None:
    seen = pair(witness=witness(jobs={}))
    (finding,) = found(replace(WELL, status=seen))
    assert (finding.level, finding.where) == ("ok", "T440")
    assert "dualjoe-restore drill" in finding.remedy


def test_an_alert_that_was_not_tried_is_said() -> None:
    (finding,) = found(replace(WELL, alert=None))
    assert (finding.level, finding.remedy) == ("ok", "dualjoe doctor --send-alert")


@pytest.mark.parametrize("seen", [{"containers": ()}, {"left_out": ["notes", "web"]}])
def test_where_there_is_nothing_to_save_nothing_is_missed(seen: dict[str, Any]) -> None:
    assert found(replace(WELL, saved=(), **seen)) == []


def test_an_overdue_job_is_told_once() -> None:
    seen = node_says("pc-b", jobs={"backup": job(98800), "memory-sync": job(90000)})
    late = {"late pc-b memory-sync": "Job memory-sync on pc-b has ended no run for 3 h."}
    assert len(found(replace(WELL, status={**seen, "standing": late}))) == 1


def test_a_silent_node_is_not_judged_by_what_it_said_before() -> None:
    silent = pair(nodes={**pair()["nodes"], "pc-b": with_node("pc-b", {"library": "old"}, heard=False)["pc-b"]})
    assert found(replace(WELL, status=silent)) == []


# The facts


@pytest.fixture
async def machines(tmp_path: Path) -> AsyncIterator[Pair]:
    bot = BotApi()
    made = Pair(tmp_path, bot)
    for name in made.guards:
        await made.switch_on(name)
    yield made
    await made.close()
    bot.close()


async def test_a_node_is_asked_as_the_watchdog_asks_it(machines: Pair) -> None:
    settings = machines.settings()
    assert (await facts.reach(settings.primary, settings)).kind == "answered"
    swapped = NodeSettings(name="pc-b", address="127.0.0.1", port=machines.ports["pc-a"])
    assert (await facts.reach(swapped, settings)).detail == "it says that it is 'pc-a'"
    hosts = (machines.folder / "known_hosts").read_text()
    (machines.folder / "known_hosts").write_text("")
    assert (await facts.reach(settings.primary, settings)).kind == "host_key"
    (machines.folder / "known_hosts").write_text(hosts)
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(str(machines.folder / "other"))
    other = settings.model_copy(update={"key": machines.folder / "other"})
    assert (await facts.reach(settings.primary, other)).kind == "key"
    await machines.switch_off("pc-a")
    refused = await facts.reach(settings.primary, settings)
    assert (refused.kind, refused.node) == ("refused", "pc-a")
    ports = machines.ports.values()
    assert facts.pinned(machines.folder / "known_hosts") == frozenset(f"[127.0.0.1]:{port}" for port in ports)


async def test_a_machine_that_drops_all_is_a_timeout(machines: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "REACH_SECONDS", 0.2)
    machines.guards["pc-a"].slow = {"probe": 5}
    settings = machines.settings()
    assert (await facts.reach(settings.primary, settings)).kind == "timeout"


def test_files_are_seen_as_they_are(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("secret")
    key.chmod(0o644)
    seen = facts.look(key, "0600", "root:root")
    assert (seen.mode, seen.owner.count(":")) == ("0644", 1)
    assert facts.look(tmp_path / "none", "0600", "root:root").mode == ""
    assert facts.pinned(tmp_path / "none") is None


def test_a_record_is_read_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "witness.sqlite"
    assert "unable to open" in facts._store(path)
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE t (x)")
    assert facts._store(path) == ""
    path.write_bytes(path.read_bytes()[:1000])
    assert facts._store(path).startswith(f"{path}: ")
    assert [file.name for file in tmp_path.iterdir()] == ["witness.sqlite"]


def test_the_lock_file_is_read_as_a_whole() -> None:
    lock = Path(__file__).parents[2] / "roles/watchdog/files/requirements.txt"
    found = facts._locked(lock)
    assert found["rich"]
    assert found["pydantic-core"]
    assert len(found) == lock.read_text("utf-8").count("==")


@pytest.mark.parametrize(
    ("says", "unit", "synchronised"),
    [
        ("ActiveState=active\nUnitFileState=enabled\nNRestarts=3", Unit("x.service", "active", "enabled", 3), None),
        ("ActiveState=inactive\nUnitFileState=\nNRestarts=", Unit("x.service", "inactive", "", 0), None),
        ("no", Unit("x.service", "", "", 0), False),
        ("yes", Unit("x.service", "", "", 0), True),
        (None, Unit("x.service", "", "", 0), None),
    ],
)
def test_systemd_is_asked_and_may_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str | None, unit: Unit, synchronised: bool | None
) -> None:
    for program in ("systemctl", "timedatectl") if says is not None else ():
        (tmp_path / program).write_text(f"#!/bin/sh\nprintf '{says}\n'\n")
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert facts._unit("x.service") == unit
    assert facts._synchronised() is synchronised


def test_machines_with_the_same_library_say_the_same(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "lease.py").write_text("x = 1\n")
    assert installed.on_disk(tmp_path / "a") == installed.on_disk(tmp_path / "b")
    (tmp_path / "b/lease.py").write_text("x = 2\n")
    assert installed.on_disk(tmp_path / "a") != installed.on_disk(tmp_path / "b")
    assert installed.running() == installed.on_disk(Path(installed.__file__).parent)


LISTED = """printf '{"Names":"notes","Labels":"a=b"}\\n{"Names":"drill-x","Labels":"dualjoe.scratch=drill"}\\n'"""


@pytest.mark.parametrize(
    ("docker", "settings", "seen"),
    [
        (LISTED, {"containers": [{"name": "notes"}], "ignore": ["web"]}, (["notes"], ["notes"], ["web"])),
        ("true", {"containers": []}, ([], [], [])),
        ("exit 1", {"containers": []}, (None, [], [])),
        (None, {"containers": []}, ([], [], [])),
        (LISTED, {}, (["notes"], None, ())),
    ],
)
def test_docker_is_asked_what_there_is_and_the_settings_what_is_saved(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    docker: str | None,
    settings: dict[str, Any],
    seen: tuple[Any, Any, Any],
) -> None:
    if docker:
        (tmp_path / "docker").write_text(f"#!/bin/sh\n{docker}\n")
        (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(facts, "BACKUP", tmp_path / "backup.json")
    (tmp_path / "backup.json").write_text(json.dumps(settings))
    told = facts._of_backups(Facts())
    assert (told.containers, told.saved, told.left_out) == seen


def test_a_machine_without_any_of_it_is_examined_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(facts, "CONFIG", tmp_path / "watchdog.json")
    monkeypatch.setattr(facts, "BACKUP", tmp_path / "backup.json")
    monkeypatch.setattr(facts, "DOCKER", "no-docker")
    real = control.ask
    monkeypatch.setattr(control, "ask", lambda command, **more: real(command, path=str(tmp_path / "no.sock"), **more))
    assert cli.main(["doctor"]) == cli.NOT_DONE
    said = capsys.readouterr().out
    assert "The watchdog's settings cannot be used" in said
    assert "The watchdog cannot be asked" in said
    assert "ansible-playbook site.yml" in said
    for subject in ("pair", "keys", "ways to the nodes", "disks", "versions", "cron", "memory", "backups", "alerts"):
        assert f"{subject}: cannot be told\n" in said
    assert cli.main(["doctor", "--json"]) == cli.NOT_DONE
    assert '"level": "critical"' in capsys.readouterr().out


def test_who_is_not_root_is_told_to_be(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert cli.main(["doctor"]) == cli.NOT_DONE
    assert "sudo dualjoe doctor" in capsys.readouterr().err
