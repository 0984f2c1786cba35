"""The run after a move: the real ansible-runner on small playbooks, and what the watchdog hears of it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from dualjoe import control, verification, wire
from dualjoe_watchdog import after_move, converge, coordinator, outbox
from dualjoe_watchdog.after_move import BadRequest, Request
from watchdog_pair import BotApi, Pair, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]
PATHS = ("plugins/module_utils", "roles/watchdog/files")
FAILOVER = Request(kind="failover", node="pc-b", home="standby", epoch=8, at="2026-11-24T06:00:00.000Z")
FAILBACK = Request(kind="failback", node="pc-a", home="primary", epoch=9, at="2026-11-24T06:10:00.000Z")

FINE = """
- hosts: witness
  gather_facts: false
  tasks:
    - name: Change something
      ansible.builtin.command: "true"
    - ansible.builtin.set_stats:
        data: {summary: all is well, moved_already: "{{ switchover_made }}"}
"""
WRONG = """
- hosts: witness
  gather_facts: false
  tasks:
    - name: Look for what is wrong
      ansible.builtin.fail:
        msg: two geese are missing
"""
# What does not want to end: it is deaf to both signals, and has a child in a session of its own.
HANGING = """
- hosts: witness
  gather_facts: false
  tasks:
    - name: Hang
      ansible.builtin.shell: |
        trap '' INT TERM
        setsid --fork sh -c 'trap "" INT TERM; echo MARK >/dev/null; while :; do sleep 1; done'
        touch {{ lookup('env', 'HANGS') }}
        while :; do : MARK; sleep 1; done
"""


class Listener:
    """The watchdog's control socket, as far as a run needs it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[dict[str, Any]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(path))
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                channel, _ = self._socket.accept()
            except OSError:
                return
            with channel, channel.makefile("rb") as lines:
                self.notes.append(json.loads(lines.readline()))
                channel.sendall(wire.encode(wire.ok()))

    def told(self, kind: str) -> list[dict[str, Any]]:
        return [note for note in self.notes if note["kind"] == kind]

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(timeout=5)


class Program:
    """dualjoe-converge with a folder, playbooks and a watchdog of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "converge"
        self.collections = folder / "collections"
        self.listener = Listener(folder / "watchdog.sock")
        self.hangs = folder / "hangs"
        self.running: list[subprocess.Popen[str]] = []
        self.mark = f"mark-{folder.name}-{os.getpid()}"
        self.folder.mkdir()
        (self.collections / converge.PLAYBOOKS).mkdir(parents=True)

    def playbook(self, name: str, text: str) -> None:
        (self.collections / converge.PLAYBOOKS / name).write_text(text.replace("MARK", self.mark))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        paths = ("--folder", self.folder, "--collections", self.collections, "--socket", self.listener.path)
        running = subprocess.Popen(
            [sys.executable, "-m", "dualjoe_watchdog.converge", *map(str, paths), *arguments],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(str(ROOT / path) for path in PATHS),
                "HANGS": str(self.hangs),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.running.append(running)
        return running

    def run(self, *arguments: str) -> tuple[int, str]:
        running = self.start(*arguments)
        said, _ = running.communicate(timeout=60)
        return running.returncode, said

    def left(self) -> list[int]:
        """What runs of the hanging task."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if self.mark.encode() in path.read_bytes():
                    found.append(int(path.parent.name))
            except OSError:
                continue
        return found


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    made = Program(tmp_path)
    yield made
    for running in made.running:
        running.kill()
        running.communicate()
    for pid in made.left():
        os.kill(pid, signal.SIGKILL)
    made.listener.close()


def wait(condition: Callable[[], object], what: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)


def hang(program: Program, *arguments: str) -> subprocess.Popen[str]:
    """A run whose task hangs, child and all."""
    program.playbook("failover.yml", HANGING)
    after_move.leave(program.folder, FAILOVER)
    running = program.start(*arguments)
    wait(program.hangs.exists, "the task hangs")
    assert len(program.left()) >= 2
    return running


def test_a_run_tells_how_it_went(program: Program) -> None:
    program.playbook("failover.yml", FINE)
    assert after_move.leave(program.folder, FAILOVER) == ""
    code, said = program.run()
    assert code == 0, said
    kinds = [note["kind"] for note in program.listener.notes]
    assert kinds == ["converge_started", "converge_task", "converge_done"]
    assert program.listener.told("converge_task")[0]["reason"] == "Change something: changed"
    done = program.listener.told("converge_done")[0]
    assert (done["node"], done["reason"]) == ("pc-b", "all is well")
    assert (done["data"]["epoch"], done["data"]["move"], done["data"]["status"]) == (8, "failover", "successful")
    assert done["data"]["found"]["moved_already"] is True, "it would ask for the move again"
    assert 0 < done["data"]["seconds"] < 60
    assert [path.name for path in program.folder.iterdir()] == ["runs"]


def test_the_move_home_has_its_own_playbook(program: Program) -> None:
    program.playbook("failback.yml", FINE)
    after_move.leave(program.folder, FAILBACK)
    assert program.run()[0] == 0
    assert (program.folder / "runs/9-failback/artifacts/run/status").read_text() == "successful"


def test_a_run_that_fails_says_why(program: Program) -> None:
    program.playbook("failover.yml", WRONG)
    after_move.leave(program.folder, FAILOVER)
    assert program.run()[0] == 1
    failed = program.listener.told("converge_failed")[0]
    assert failed["reason"] == "failover.yml: Look for what is wrong: two geese are missing"
    assert failed["data"]["status"] == "failed"


def test_a_playbook_that_is_not_there_is_a_failure(program: Program) -> None:
    after_move.leave(program.folder, FAILOVER)
    assert program.run()[0] == 1
    assert program.listener.told("converge_failed")[0]["node"] == "pc-b"


def test_a_run_ends_at_its_time_limit_and_nothing_of_it_is_left(program: Program) -> None:
    running = hang(program, "--timeout", "6")
    running.communicate(timeout=40)
    assert running.returncode == 1
    assert program.left() == []
    failed = program.listener.told("converge_failed")[0]
    assert failed["data"]["status"] == "timeout"
    assert failed["reason"] == "failover.yml: not done within its time limit"
    assert failed["data"]["seconds"] < 6 + 2 * converge.STEP_SECONDS + 6


def test_a_frozen_ansible_is_ended_as_well(program: Program) -> None:
    """It hears neither INT nor TERM."""
    running = hang(program, "--timeout", "6")
    kids = subprocess.run(["pgrep", "--parent", str(running.pid)], capture_output=True, text=True, check=True)
    for pid in kids.stdout.split():
        os.kill(int(pid), signal.SIGSTOP)
    running.communicate(timeout=40)
    assert program.left() == []
    assert program.listener.told("converge_failed")[0]["data"]["status"] == "timeout"


def test_a_run_gives_way_to_a_newer_move_and_nothing_of_it_is_left(program: Program) -> None:
    running = hang(program)
    after_move.leave(program.folder, FAILBACK)
    running.communicate(timeout=40)
    assert running.returncode == 0
    assert program.left() == []
    assert program.listener.told("converge_canceled")[0]["data"]["status"] == "canceled"
    assert program.listener.told("converge_failed") == []
    assert after_move.take(program.folder) == FAILBACK, "the newer move is the next run's"


def test_a_run_that_is_told_to_stop_says_so_and_leaves_nothing(program: Program) -> None:
    running = hang(program)
    running.terminate()
    running.communicate(timeout=40)
    assert program.left() == []
    assert program.listener.told("converge_canceled")[0]["reason"] == "failover.yml: told to stop"


def test_a_run_that_was_killed_is_told_of_by_the_next_command(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = hang(program)
    running.kill()
    running.communicate(timeout=40)
    monkeypatch.setenv("SERVICE_RESULT", "oom-kill")
    assert program.run("--after")[0] == 0
    assert program.run("--after")[0] == 0
    told = program.listener.told("converge_failed")
    assert [note["reason"] for note in told] == ["the last run ended without a word (oom-kill)"]


def test_only_the_newest_runs_are_kept(program: Program) -> None:
    for epoch in (3, 20, 100):
        (program.folder / "runs" / f"{epoch}-failover" / "artifacts").mkdir(parents=True)
    program.playbook("failover.yml", FINE)
    after_move.leave(program.folder, FAILOVER.model_copy(update={"epoch": 101}))
    assert program.run("--keep", "2")[0] == 0
    assert {path.name for path in (program.folder / "runs").iterdir()} == {"100-failover", "101-failover"}


def test_artifacts_are_its_own_user_s_only(program: Program) -> None:
    program.playbook("failover.yml", FINE)
    after_move.leave(program.folder, FAILOVER)
    assert program.run()[0] == 0
    assert (program.folder / "runs/8-failover").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "geese",
        "{}",
        FAILOVER.model_dump_json().replace("failover", "landslide"),
        FAILOVER.model_dump_json().replace("standby", "../../etc"),
        FAILOVER.model_dump_json().replace("8", '"8"'),
        FAILOVER.model_dump_json().replace("8", "0"),
    ],
)
def test_a_broken_word_of_a_move_is_refused_and_gone(program: Program, text: str) -> None:
    (program.folder / "request.json").write_text(text)
    with pytest.raises(BadRequest):
        after_move.take(program.folder)
    assert not after_move.is_waiting(program.folder), "systemd would start the run again and again"


def test_a_broken_word_of_a_move_is_told_of(program: Program) -> None:
    (program.folder / "request.json").write_text("geese")
    assert program.run()[0] == 1
    assert "cannot be read" in program.listener.told("converge_failed")[0]["reason"]


def test_nothing_to_do_is_no_failure(program: Program) -> None:
    assert program.run()[0] == 0
    assert program.listener.notes == []


def test_a_watchdog_that_is_away_does_not_fail_the_run(program: Program) -> None:
    program.playbook("failover.yml", FINE)
    program.listener.path.unlink()
    after_move.leave(program.folder, FAILOVER)
    code, said = program.run()
    assert code == 0
    assert "event=converge_done is not in the timeline: the watchdog does not answer" in said


def test_a_move_that_cannot_be_told_or_was_never_taken_up_is_named(tmp_path: Path) -> None:
    assert "cannot be asked for" in after_move.leave(tmp_path / "missing", FAILOVER)
    assert after_move.leave(tmp_path, FAILOVER) == ""
    assert after_move.leave(tmp_path, FAILBACK) == "", "the run of a moment ago may just be ending"
    long_ago = time.time() - 2 * after_move.STALE_SECONDS
    os.utime(tmp_path / "request.json", (long_ago, long_ago))
    assert "never began" in after_move.leave(tmp_path, FAILBACK)
    assert after_move.take(tmp_path) == FAILBACK


# ---- the watchdog's side


@pytest.fixture
def bot() -> Iterator[BotApi]:
    api = BotApi()
    yield api
    api.close()


@pytest.fixture
async def pair(tmp_path: Path, bot: BotApi, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pair]:
    monkeypatch.setattr(coordinator, "STEP_SECONDS", 0.05)
    monkeypatch.setattr(outbox, "FIRST_RETRY_SECONDS", 0.1)
    made = Pair(tmp_path, bot)
    for name in made.guards:
        await made.switch_on(name)
    yield made
    await made.close()


async def note(pair: Pair, **fields: Any) -> dict[str, Any]:
    return await asyncio.to_thread(lambda: control.ask("note", path=str(pair.folder / "watchdog.sock"), **fields))


async def test_each_move_is_told_to_the_run_after_it(pair: Pair) -> None:
    folder = pair.folder / "converge"
    folder.mkdir()
    async with pair.watched(converge=folder) as watchdog:
        await until(lambda: watchdog.decision.situation == "home")
        assert not after_move.is_waiting(folder), "to begin is no move"
        await pair.switch_off("pc-a")
        await until(lambda: after_move.is_waiting(folder))
        away = after_move.take(folder)
        await pair.switch_on("pc-a")
        await until(lambda: after_move.is_waiting(folder))
        home = after_move.take(folder)
        assert away is not None
        assert (away.kind, away.node, away.home) == ("failover", "pc-b", "standby")
        assert home is not None
        assert (home.kind, home.node, home.home, home.epoch) == ("failback", "pc-a", "primary", watchdog.record.epoch)


async def test_a_move_is_made_although_the_run_cannot_be_asked_for(pair: Pair, bot: BotApi) -> None:
    async with pair.watched(converge=pair.folder / "missing") as watchdog:
        await until(lambda: watchdog.decision.situation == "home")
        await pair.switch_off("pc-a")
        await until(lambda: pair.guards["pc-b"].active and watchdog.decision.situation == "away")
        await until(lambda: any("cannot be asked for" in text for text in bot.texts))


async def test_what_a_run_tells_is_in_the_timeline_and_its_failure_is_alerted(pair: Pair, bot: BotApi) -> None:
    async with pair.watched() as watchdog:
        await until(lambda: watchdog.decision.situation == "home")
        told = {"node": "pc-b", "data": {"status": "successful"}}
        assert (await note(pair, kind="converge_done", reason="all is well", **told))["ok"]
        assert (await note(pair, kind="converge_failed", reason="two geese are missing", node=None, data={}))["ok"]
        await until(lambda: any("two geese are missing" in text for text in bot.texts))
        done, failed = watchdog.store.events(2)
    assert (done["kind"], done["node"], done["data"]["status"]) == ("converge_done", "pc-b", "successful")
    assert failed["kind"] == "converge_failed"
    assert not any("all is well" in text for text in bot.texts)


NO_NOTES: list[dict[str, Any]] = [
    {"kind": "failover"},
    {"kind": "converge_whatever"},
    {"kind": ["converge_done"]},
    {"node": "t440"},
    {"node": ["pc-a"]},
    {"reason": ""},
    {"reason": "x" * 501},
    {"reason": 5},
    {"data": None},
    {"data": []},
    {"data": {"long": "x" * 20000}},
]


async def test_what_is_no_note_is_refused(pair: Pair) -> None:
    good: dict[str, Any] = {"kind": "converge_done", "node": "pc-a", "reason": "all is well", "data": {}}
    async with pair.watched() as watchdog:
        replies = [(change, await note(pair, **{**good, **change})) for change in NO_NOTES]
        assert [change for change, reply in replies if reply.get("error") != "bad_request"] == []
        assert not any(event["kind"].startswith("converge") for event in watchdog.store.events(100))


# ---- what the run finds


def status(**more: Any) -> dict[str, Any]:
    """The pair after a failover."""

    def node(home: str, role: str, gateway: str) -> dict[str, Any]:
        jobs = {"backup": {"result": "ok", "finished_at": "2026-11-24T06:00:00Z"}}
        told = {"role": role, "gateway": {"state": gateway}, "epoch": 8, "fit": True, "unfit": [], "jobs": jobs}
        return {"home": home, "heard": True, "heard_seconds_ago": 1.0, "silence": None, "probe": told}

    nodes = {"pc-a": node("primary", "passive", "stopped"), "pc-b": node("standby", "active", "ready")}
    pair = {"pair": "joe", "situation": "away", "reason": "pc-b serves", "epoch": 8, "holder": "pc-b", "nodes": nodes}
    since = {"since": "2026-11-24T06:00:00Z", "time": "2026-11-24T06:01:00Z", "mode": "act"}
    return {**pair, **since, "troubles": [], "stays_away": False, "alerts_waiting": 0, **more}


def silent(told: dict[str, Any], node: str) -> dict[str, Any]:
    told["nodes"][node].update(heard=False, silence="no route")
    return told


def active(told: dict[str, Any], node: str) -> dict[str, Any]:
    told["nodes"][node]["probe"]["role"] = "active"
    return told


def gateway(told: dict[str, Any], node: str, state: str) -> dict[str, Any]:
    told["nodes"][node]["probe"]["gateway"]["state"] = state
    return told


@pytest.mark.parametrize(
    ("told", "wanted", "wrong"),
    [
        (status(), "standby", ()),
        (status(), "pc-b", ()),
        (status(), None, ()),
        (silent(status(), "pc-a"), "standby", ()),
        (status(), "primary", ("the lease is not pc-a's but pc-b's (pc-b serves)",)),
        (status(holder=None, reason="moving"), "standby", ("the lease is not pc-b's but nobody's (moving)",)),
        (status(holder="pc-a"), "primary", ("the gateway on pc-a is stopped, not ready", "pc-b is active as well")),
        (silent(status(), "pc-b"), "standby", ("pc-b does not answer",)),
        (gateway(status(), "pc-b", "starting"), "standby", ("the gateway on pc-b is starting, not ready",)),
        (active(status(), "pc-a"), "standby", ("pc-a is active as well",)),
        (status(), "pc-c", ("there is no node pc-c",)),
        (status(holder=None), None, ("there is no node None",)),
    ],
)
def test_what_is_wrong_with_a_move(told: dict[str, Any], wanted: str | None, wrong: tuple[str, ...]) -> None:
    assert verification.of_move(told, wanted).wrong == wrong


def test_troubles_are_told_and_no_failure_of_the_move() -> None:
    found = verification.of_move(status(troubles=["pc-a does not answer T440."]), "standby")
    assert found.wrong == ()
    assert found.summary == "Joe serves on pc-b; to look at: pc-a does not answer T440."
    assert any("job backup: ok at 2026-11-24T06:00:00Z" in line for line in found.lines)
