"""A container that was made to hold still goes on, whatever becomes of the run that did it.

The runs are real processes, killed for real; only docker is a script, which keeps each container's state in a file.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from dualjoe_jobs import quiesce
from dualjoe_jobs.container import Container, HookFailed
from dualjoe_jobs.job import boot_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = f"{ROOT}/plugins/module_utils:{ROOT}/roles/common/files"

# Knows `box` only. A file `slow` makes it take its time, as for a container that will not stop; `down` fails it.
DOCKER = """#!/bin/sh
cd {state}
echo "$*" >> calls
[ ! -e down ] || {{ echo "Cannot connect to the Docker daemon" >&2; exit 1; }}
is() {{ [ "$(cat box)" = "$1" ] && echo true || echo false; }}
[ -e box ] || {{ echo "Error: No such container: box" >&2; exit 1; }}
case "$1 $2" in
"container inspect")
    running=$([ "$(cat box)" = stopped ] && echo false || echo true)
    state="\\"Running\\":$running,\\"Paused\\":$(is paused)"
    echo "[{{\\"Id\\":\\"box\\",\\"State\\":{{$state}},\\"Config\\":{{\\"StopTimeout\\":1}}}}]";;
"pause box") echo paused > box;;
"stop box")
    [ ! -e slow ] || setsid sh -c 'touch asked; while [ ! -e go ]; do sleep 0.05; done; echo stopped > box'
    echo stopped > box;;
"unpause box" | "start box") echo running > box;;
exec*) case "$*" in *fail*) exit 3;; *freeze*) echo frozen > box;; *thaw*) echo running > box;; esac;;
*) exit 9;;
esac
"""

RUN = """
import sys, time
from pathlib import Path
from dualjoe_jobs.container import Container
from dualjoe_jobs.quiesce import quiesced
way = sys.argv[1]
box = Container("box", dict(quiesce=way, quiesce_command=["freeze"], resume_command=["thaw"]), time.monotonic() + 60)
with quiesced(box, Path(sys.argv[2])):
    print("still", flush=True)
    time.sleep(60)
"""

SERVICE = """
import sys
from pathlib import Path
from dualjoe_jobs.quiesce import watch
sys.exit(watch(Path(sys.argv[1])))
"""

WAYS = [("pause", "paused"), ("stop", "stopped"), ("command", "frozen")]


class Machine:
    """A machine with one container, `box`."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.notes = folder / "quiesced"
        program = folder / "bin/docker"
        program.parent.mkdir()
        program.write_text(DOCKER.format(state=folder))
        program.chmod(0o755)
        self.state = "running"
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        monkeypatch.setenv("PYTHONPATH", LIBRARIES)
        monkeypatch.setattr(quiesce, "_SETTLE_SECONDS", 0.0)

    @property
    def state(self) -> str:
        return (self.folder / "box").read_text().strip()

    @state.setter
    def state(self, state: str) -> None:
        (self.folder / "box").write_text(state)

    @property
    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()

    @property
    def noted(self) -> list[str]:
        return [path.name for path in self.notes.glob("*")]

    def box(self, **parameters: Any) -> Container:
        commands = {"quiesce_command": ["freeze"], "resume_command": ["thaw"]}
        return Container("box", {**commands, **parameters}, time.monotonic() + 60)

    @contextmanager
    def run(self, way: str) -> Iterator[subprocess.Popen[str]]:
        """A run, in a process of its own, while the box holds still."""
        argv = [sys.executable, "-c", RUN, way, str(self.notes)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
            assert process.stdout
            assert process.stdout.readline() == "still\n"
            try:
                yield process
            finally:
                process.kill()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


@pytest.mark.parametrize(("way", "state"), WAYS)
def test_within_it_holds_still_and_afterwards_it_goes_on(way: str, state: str, machine: Machine) -> None:
    with quiesce.quiesced(machine.box(quiesce=way), machine.notes):
        assert (machine.state, machine.noted) == (state, ["box"])
    assert (machine.state, machine.noted) == ("running", [])


@pytest.mark.parametrize(("way", "state"), WAYS)
def test_after_a_failure_it_goes_on(way: str, state: str, machine: Machine) -> None:
    with pytest.raises(HookFailed, match="disk full"), quiesce.quiesced(machine.box(quiesce=way), machine.notes):
        raise HookFailed("disk full")
    assert (machine.state, machine.noted) == ("running", [])


@pytest.mark.parametrize(("way", "state"), WAYS)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_after_a_run_that_was_killed_it_is_let_go_on(
    way: str, state: str, number: int, machine: Machine, capfd: pytest.CaptureFixture[str]
) -> None:
    with machine.run(way) as process:
        assert quiesce.resume_left(machine.notes) == []
        assert machine.state == state, "a run that is alive is left alone"
        process.send_signal(number)
        process.wait()
        assert machine.state == state
        assert quiesce.resume_left(machine.notes) == []
    assert (machine.state, machine.noted) == ("running", [])
    assert "box: its backup had ended without letting it go on" in capfd.readouterr().err


def test_a_run_s_own_output_is_left_to_its_reply(machine: Machine, capfd: pytest.CaptureFixture[str]) -> None:
    """A run lets go on first what an earlier one left, and the puller reads one line."""
    with machine.run("pause") as process:
        process.kill()
        process.wait()
        assert quiesce.resume_left(machine.notes) == []
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(("way", "state"), WAYS[:2])
def test_one_that_an_earlier_run_left_is_not_taken_for_one_that_does_not_run(
    way: str, state: str, machine: Machine
) -> None:
    """The service may let it go on in the midst of the copy; and nobody would hear that it does not."""
    with machine.run(way) as process:
        process.kill()
        process.wait()
    with pytest.raises(HookFailed, match="earlier backup"), quiesce.quiesced(machine.box(quiesce=way), machine.notes):
        raise AssertionError("it was copied")
    assert (machine.state, machine.noted) == (state, ["box"])


@pytest.mark.parametrize(("way", "state"), WAYS[:2])
def test_a_copy_of_one_that_went_on_meanwhile_does_not_count(way: str, state: str, machine: Machine) -> None:
    """As after dockerd was killed: it starts what was paused."""
    with pytest.raises(HookFailed, match="somebody"), quiesce.quiesced(machine.box(quiesce=way), machine.notes):
        machine.state = "running"
    assert (machine.state, machine.noted) == ("running", [])


def test_the_service_stays_until_it_goes_on(machine: Machine) -> None:
    """As systemd starts it: when there is a note, while the run is alive."""
    argv = [sys.executable, "-c", SERVICE, str(machine.notes)]
    with machine.run("pause") as run, subprocess.Popen(argv) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        assert machine.state == "paused"
        run.kill()
        run.wait()
        assert process.wait(30) == 0
    assert (machine.state, machine.noted) == ("running", [])


def test_what_docker_stops_only_after_the_run_was_killed_is_started_again(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker goes on with what it was asked for: when the note is first looked at, the container still runs."""
    (machine.folder / "slow").touch()
    argv = [sys.executable, "-c", RUN, "stop", str(machine.notes)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, start_new_session=True) as process:
        while not (machine.folder / "asked").exists():
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
    assert machine.state == "running"
    settled = []

    def settle(seconds: float) -> None:
        settled.append(seconds)
        (machine.folder / "go").touch()
        while machine.state != "stopped":
            time.sleep(0.01)

    monkeypatch.setattr(quiesce, "time", SimpleNamespace(sleep=settle))  # subprocess sleeps as well
    assert quiesce.resume_left(machine.notes) == []
    assert settled == [3], "the time that the container may take to stop, and some more"
    assert (machine.state, machine.noted) == ("running", [])


def test_a_run_that_hangs_is_not_waited_for_and_its_copy_does_not_count(machine: Machine) -> None:
    def hang() -> None:
        note = machine.notes / "box"
        told = json.loads(note.read_text())
        assert told["until"] - boot_seconds() == pytest.approx(90, abs=20)
        note.write_text(json.dumps({**told, "until": boot_seconds() - 1}))
        assert quiesce.resume_left(machine.notes) == []
        assert machine.state == "running"

    told = "let go on before its copy was done"
    with pytest.raises(HookFailed, match=told), quiesce.quiesced(machine.box(quiesce="pause"), machine.notes):
        hang()
    assert machine.noted == []


@pytest.mark.parametrize(("way", "state"), WAYS)
def test_while_docker_does_not_answer_the_note_stays(way: str, state: str, machine: Machine) -> None:
    with pytest.raises(HookFailed, match="Cannot connect"), quiesce.quiesced(machine.box(quiesce=way), machine.notes):
        (machine.folder / "down").touch()
    assert (machine.state, machine.noted) == (state, ["box"])
    assert quiesce.resume_left(machine.notes) == ["box: docker ended with 1: Cannot connect to the Docker daemon"]
    (machine.folder / "down").unlink()
    assert quiesce.resume_left(machine.notes) == []
    assert (machine.state, machine.noted) == ("running", [])


def test_a_container_that_was_removed_leaves_no_note(machine: Machine) -> None:
    with machine.run("pause") as process:
        process.kill()
    (machine.folder / "box").unlink()
    assert quiesce.resume_left(machine.notes) == []
    assert machine.noted == []


@pytest.mark.parametrize("state", ["stopped", "paused"])
@pytest.mark.parametrize("way", ["pause", "stop", "command"])
def test_one_that_does_not_run_stays_so(state: str, way: str, machine: Machine) -> None:
    machine.state = state
    with quiesce.quiesced(machine.box(quiesce=way), machine.notes):
        assert machine.noted == []
    assert machine.state == state


def test_one_that_docker_would_remove_is_not_stopped(machine: Machine) -> None:
    box = machine.box(quiesce="stop")
    vars(box)["facts"] = {**box.facts, "HostConfig": {"AutoRemove": True}}
    with pytest.raises(HookFailed, match="run with --rm"), quiesce.quiesced(box, machine.notes):
        raise AssertionError("it was stopped")
    assert machine.state == "running"


def test_without_a_way_nothing_is_touched(machine: Machine) -> None:
    with quiesce.quiesced(machine.box(), machine.notes):
        assert machine.state == "running"
    assert machine.calls == ["container inspect box"]


def test_a_command_that_fails_is_undone_all_the_same(machine: Machine) -> None:
    box = machine.box(quiesce="command", quiesce_command=["fail"])
    with pytest.raises(HookFailed, match="ended with 3"), quiesce.quiesced(box, machine.notes):
        raise AssertionError("it does not hold still")
    assert [call.split()[-1] for call in machine.calls if "exec" in call] == ["fail", "thaw", "thaw"]
    assert machine.noted == []


def test_a_note_that_makes_no_sense_is_told_and_kept(machine: Machine) -> None:
    machine.notes.mkdir()
    (machine.notes / "box").write_text("{}")
    assert quiesce.resume_left(machine.notes)[0].startswith("box: ")
    assert machine.noted == ["box"]


def test_a_note_that_is_being_written_is_not_looked_at(machine: Machine) -> None:
    machine.notes.mkdir()
    (machine.notes / ".box.new").write_text("")
    assert quiesce.resume_left(machine.notes) == []
