"""A drill brings each container back from each node beside the live one, asks it, and leaves nothing."""

from __future__ import annotations

import json
import shutil
import socketserver
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from dualjoe import job_results
from dualjoe_jobs import backup_drill, backup_restore, docker_socket, drill_scratch, job
from dualjoe_jobs.backup_drill import drill
from dualjoe_jobs.drill_scratch import Scratch
from dualjoe_jobs.job import JobFailed
from dualjoe_jobs.restore_box import Box
from restore_site import SNAPSHOT, T440, Site, t440

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["t440"]  # the fixture

SECRET = "PASSWORD=a secret"
FACTS: dict[str, Any] = {
    "version": 1,
    "image": "shop:1",
    "image_id": "sha256:0",
    "entrypoint": None,
    "command": ["serve"],
    "env": [SECRET],
    "user": "",
    "healthcheck": {"Test": ["CMD", "well"]},
    "mounts": [
        {
            "type": "volume",
            "name": "box",
            "source": "/volumes/box/_data",
            "destination": "/data",
            "rw": True,
        },
        {"type": "bind", "source": "/var/run/docker.sock", "destination": "/docker.sock", "rw": False},
        {"type": "bind", "source": "/etc/hostname", "destination": "/etc/shop.conf", "rw": False},
        {"type": "bind", "source": "/srv/shop", "destination": "/srv", "rw": True},
    ],
}


class Daemon(socketserver.UnixStreamServer):
    """Docker's own interface, as far as a drill needs it."""

    def __init__(self, path: Path, docker: Any) -> None:
        self.bodies: list[dict[str, Any]] = []
        daemon = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                daemon.bodies.append(body)
                name = self.path.rpartition("=")[2]
                mounts = {}
                for bind in body["HostConfig"]["Binds"]:
                    source, inside = bind.split(":")[:2]
                    mounts[inside] = docker.root / f"volumes/{source}/_data" if source.isdigit() else source
                health = (body.get("Healthcheck") or {"Test": ["NONE"]})["Test"]
                docker.add(name, mounts, running=False, labels=body["Labels"], health=health)
                answer = b'{"Id": "1"}'
                status = 201
                if body["Cmd"] == ["refused"]:
                    answer, status = b'{"message": "no such thing"}', 404
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                """A test needs no log."""

            def address_string(self) -> str:
                return "local"

        super().__init__(str(path), Handler)


@pytest.fixture
def daemon(t440: T440, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    path = tmp_path / "d.sock"
    server = Daemon(path, t440.docker)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setattr(docker_socket, "SOCKET", path)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def save(t440: T440, site: Site, places: dict[str, str] = {"files": "/data"}, **facts: Any) -> None:  # noqa: B006
    """A snapshot of a folder, on a node."""
    (t440.data / "saved/files").mkdir(exist_ok=True)
    (t440.data / "saved/files/one.txt").write_text("one")
    (t440.data / "saved/places.json").write_text(json.dumps(places))
    (t440.data / "container.json").write_text(json.dumps({**FACTS, **facts}))
    site.add(SNAPSHOT, {"box": ("files", t440.data)})


@pytest.fixture
def pair(t440: T440, tmp_path: Path, daemon: Daemon) -> T440:
    """Both nodes have the snapshot."""
    other = Site(tmp_path / "pc-b", "pc-b")
    t440.nodes.append(other.node)
    save(t440, t440.site)
    save(t440, other)
    (tmp_path / "jobs").mkdir()
    mounts = {"/etc/shop.conf": Path("/etc/hostname"), "/docker.sock": Path("/var/run/docker.sock")}
    t440.docker.add("box", {"/data": t440.volume, **mounts})
    (t440.volume / "live").write_text("untouched")
    return t440


def run(t440: T440, if_older_than: float | None = None) -> tuple[int, dict[str, Any], list[dict[str, Any]]]:
    """The exit code, the job's result, and how each container went."""
    jobs = t440.root / "jobs"
    code = drill(t440.settings, t440.root / "state", as_json=False, if_older_than=if_older_than, results=jobs)
    result = json.loads((jobs / "drill.json").read_text())
    return code, result, json.loads((jobs / "drill.details").read_text())["containers"]


def nothing_is_left(t440: T440) -> bool:
    left = [path.name for path in (t440.root / "state").iterdir()]
    volumes = list((t440.docker.root / "volumes").iterdir())
    return left == ["lock"] and list(t440.docker.boxes) == ["box"] and volumes == []


def test_a_drill_that_was_missed_is_made_up_for(pair: T440) -> None:
    assert backup_restore._parser().parse_args(["drill", "--if-older-than", "5"]).if_older_than == 5
    _, first, _ = run(pair, if_older_than=604800)
    assert run(pair, if_older_than=604800)[1] == first
    long_ago = {**first, "finished_at": "2026-11-01T00:00:00Z"}
    (pair.root / "jobs/drill.json").write_text(json.dumps(long_ago))
    assert run(pair, if_older_than=604800)[1]["finished_at"] >= first["finished_at"]


def test_each_container_comes_back_from_each_node(pair: T440, daemon: Daemon) -> None:
    pair.items["box"]["check"] = {"command": ["cat", "one.txt"], "expect": "one"}
    pair.docker.rule("exec .* dualjoe-drill-box .* cat one.txt", "one\n")
    code, result, details = run(pair)
    assert (code, result["result"], result["captured_at"]) == (0, "ok", "2026-11-25T20:00:00Z"), result
    assert [(each["node"], each["snapshot"], each["ok"]) for each in details] == [
        ("pc-a", SNAPSHOT, True),
        ("pc-b", SNAPSHOT, True),
    ]
    assert details[0]["told"] == ["files in place: 1", "it answers 'one'"]
    assert nothing_is_left(pair)
    assert list(job_results.read(pair.root / "jobs")) == ["drill"], "what else is there is no job's result"
    assert (pair.volume / "live").read_text() == "untouched"
    assert not [line for line in pair.docker.commands() if line in ("stop --time 60 box", "start box")]


def test_the_scratch_container_is_apart(pair: T440, daemon: Daemon) -> None:
    run(pair)
    body = daemon.bodies[0]
    assert body["HostConfig"]["NetworkMode"] == "none"
    assert body["HostConfig"]["Binds"] == ["0:/data", "/etc/hostname:/etc/shop.conf:ro", "1:/srv"]
    assert (body["Image"], body["Cmd"], body["Env"]) == ("sha256:0", ["serve"], [SECRET])
    assert not [line for line in pair.docker.commands() if SECRET in line]


HOSTS = {"type": "bind", "source": "/etc", "destination": "/host", "rw": False}


@pytest.mark.parametrize(
    "mount", [HOSTS, {**HOSTS, "source": "/", "destination": "/data/x"}, {**HOSTS, "source": "/run"}]
)
def test_a_node_in_the_wrong_hands_gets_nothing_of_this_machine_into_a_container(
    mount: dict[str, Any], pair: T440, daemon: Daemon
) -> None:
    shutil.rmtree(pair.site.root / "snapshots" / SNAPSHOT)
    save(pair, pair.site, mounts=[*FACTS["mounts"], mount])
    result = run(pair)[1]
    assert f"the snapshot wants {mount['source']} of this machine at {mount['destination']}" in result["message"]
    assert len(daemon.bodies) == 1, "only the one of the other node is made"


@pytest.mark.parametrize("path", ["../../../../../etc/hostname", "/etc/hostname", ".."])
def test_a_saved_file_is_one_of_the_snapshot_s(path: str, pair: T440, daemon: Daemon) -> None:
    shutil.rmtree(pair.site.root / "snapshots" / SNAPSHOT)
    save(pair, pair.site, places={path: "/etc/shop.conf"})
    assert "places.json makes no sense" in run(pair)[1]["message"]
    assert len(daemon.bodies) == 1


def test_the_image_of_that_name_serves_when_the_very_one_is_gone(pair: T440, daemon: Daemon) -> None:
    pair.docker.rule("image inspect .* sha256:0", complaint="No such image")
    assert run(pair)[0] == 0
    assert daemon.bodies[0]["Image"] == "shop:1"
    pair.docker.rule("image inspect .* shop:1", complaint="No such image")
    assert "the image shop:1 is not on this machine" in run(pair)[1]["message"]


def test_one_that_does_not_come_back_is_named_and_the_others_are_drilled(pair: T440) -> None:
    pair.items["other"] = {"name": "other"}
    pair.docker.rule("exec .* well$", complaint="it is sick")
    code, result, details = run(pair)
    assert (code, result["result"]) == (1, "failed")
    assert "box from pc-a: dualjoe-drill-box is not well" in result["message"]
    assert "other from pc-b: no snapshot of pc-b has container other" in result["message"]
    assert len(details) == 4
    assert nothing_is_left(pair)


def test_a_node_that_does_not_answer_is_a_failure_and_the_other_one_is_drilled(pair: T440) -> None:
    pair.site.silence()
    code, result, details = run(pair)
    assert code == 1
    assert "box from pc-a: pc-a does not answer" in result["message"]
    assert [each["ok"] for each in details] == [False, True]


def test_what_a_killed_drill_left_is_removed_first(pair: T440) -> None:
    pair.docker.add("dualjoe-drill-old", {}, labels={"dualjoe.scratch": "drill"})
    (pair.docker.root / "volumes/7/_data").mkdir(parents=True)
    (pair.root / "state/drill/stage/box").mkdir(parents=True)
    assert run(pair)[0] == 0
    assert nothing_is_left(pair)


@pytest.mark.parametrize("check", [{}, {"check": {"command": ["cat", "one.txt"]}}])
def test_one_that_nobody_asks_is_told_of(check: dict[str, Any], pair: T440) -> None:
    for site in (pair.site.root, pair.root / "pc-b"):
        shutil.rmtree(site / "snapshots" / SNAPSHOT)
    save(pair, pair.site, healthcheck=None)
    save(pair, Site(pair.root / "third", "third"), healthcheck=None)
    shutil.copytree(pair.root / "third/snapshots" / SNAPSHOT, pair.root / "pc-b/snapshots" / SNAPSHOT)
    pair.items["box"].update(check)
    code, result, _ = run(pair)
    assert (code, result["result"]) == (0, "ok"), result
    assert ("box would come back, but nobody has asked it" in result["warnings"].get("unasked", "")) == (not check)


@pytest.mark.parametrize("healthcheck", [None, {"Test": ["CMD", "well"]}])
def test_a_mongodb_that_nobody_asks_is_told_of(healthcheck: Any, pair: T440) -> None:
    """Its archive is loaded, and nobody counts what came of it."""
    (pair.data / "container.json").write_text(json.dumps({**FACTS, "healthcheck": healthcheck}))
    shutil.rmtree(pair.data / "saved")
    (pair.data / "saved").mkdir()
    (pair.data / "saved/dump.archive").write_text("archive")
    shutil.rmtree(pair.site.root / "snapshots" / SNAPSHOT)
    pair.save("mongodb", {})
    del pair.nodes[1:]
    pair.items["box"].update(database="chat")
    code, result, _ = run(pair)
    assert (code, result["result"]) == (0, "ok"), result
    assert ("nobody has asked it" in result["warnings"].get("unasked", "")) == (healthcheck is None)


def test_nothing_is_left_when_the_time_is_up(pair: T440, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_long(box: Box) -> None:
        monkeypatch.setattr(box.deadline, "_at", 0.0)
        box.docker("ps")

    monkeypatch.setattr(Box, "wait_well", too_long)
    assert "the run took longer than" in run(pair)[1]["message"]
    assert nothing_is_left(pair)


def test_a_scratch_container_that_fills_the_disk_is_ended(pair: T440, monkeypatch: pytest.MonkeyPatch) -> None:
    def nearly_full(disk: Path) -> None:
        raise JobFailed(f"the disk of {disk} is nearly full")

    def write_on(box: Any, *_: Any) -> list[str]:
        """A dump without an end, which ends with its container."""
        until = time.monotonic() + 20
        while box.is_running() and time.monotonic() < until:
            pass
        raise JobFailed("the container is not running")

    monkeypatch.setattr(drill_scratch, "check_reserve", nearly_full)
    monkeypatch.setattr(drill_scratch, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(backup_drill, "bring_back", write_on)
    code, _, details = run(pair)
    assert code == job.FAILED
    assert {detail["why"] for detail in details} == {f"the disk of {pair.docker.root} is nearly full"}
    assert nothing_is_left(pair)


def test_a_scratch_container_that_did_not_run_yet_when_the_disk_was_full_is_ended_too(
    pair: T440, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = threading.Event()
    docker, start = Scratch._docker, Box.start

    def nearly_full(disk: Path) -> None:
        raise JobFailed(f"the disk of {disk} is nearly full")

    def tried(scratch: Scratch, *argv: str) -> str:
        try:
            return docker(scratch, *argv)
        finally:
            if argv[0] == "kill":
                killed.set()

    def start_late(box: Box) -> None:
        assert killed.wait(20)
        start(box)

    def write_on(box: Box, *_: Any) -> list[str]:
        until = time.monotonic() + 5
        while box.is_running() and time.monotonic() < until:
            pass
        assert not box.is_running()
        raise JobFailed("the container is not running")

    monkeypatch.setattr(drill_scratch, "check_reserve", nearly_full)
    monkeypatch.setattr(drill_scratch, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(Scratch, "_docker", tried)
    monkeypatch.setattr(Box, "start", start_late)
    monkeypatch.setattr(backup_drill, "bring_back", write_on)
    assert run(pair)[0] == job.FAILED
    assert nothing_is_left(pair)


def test_docker_s_refusal_is_told(pair: T440, tmp_path: Path) -> None:
    save(pair, Site(tmp_path / "unused"), command=["refused"])
    body = {"HostConfig": {"Binds": []}, "Labels": {}, "Cmd": ["refused"]}
    with pytest.raises(JobFailed, match="docker refuses: no such thing"):
        docker_socket.post("/containers/create?name=x", body)
    with pytest.raises(JobFailed, match="docker does not answer at"):
        docker_socket.post("/", {}, tmp_path / "nobody")
