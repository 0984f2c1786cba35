"""A rehearsal in real namespaces, with the lab's stand-in as OpenClaw. Only systemd, which makes them, is not here."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from dualjoe_jobs import job, own_guard, rehearsal, room
from dualjoe_jobs.memory import Memory
from dualjoe_jobs.rehearsal import Rehearsal, Settings
from dualjoe_jobs.rehearsal_gateway import without_secrets
from memory_pair import LIBRARIES, NOTES, ROOT, Pair

if TYPE_CHECKING:
    from collections.abc import Iterator

STANDIN = ROOT / "lab/standin/openclaw"
VERSION = "2026.9.6"
SHARED = "state/openclaw.sqlite"
AGENT = "agents/main/agent/openclaw-agent.sqlite"
TOKEN = "0123456789abcdef-token"
CONFIG = {
    "gateway": {"mode": "local", "auth": {"token": "${GATEWAY_TOKEN}"}},
    "channels": {"telegram": {"enabled": True, "botToken": "${BOT_TOKEN}", "apiRoot": "http://127.0.0.1:9"}},
}
# The unit's second step: the scratch folders lie over the live ones, and the loopback is up.
STEP = """
import fcntl, json, os, socket, struct, subprocess, sys
from pathlib import Path
from dualjoe_jobs.memory import Memory
from dualjoe_jobs.rehearsal import Rehearsal, Settings
told = json.loads(sys.argv[1])
with socket.socket() as asked:
    fcntl.ioctl(asked, 0x8914, struct.pack("16sh", b"lo", 1))
for live, scratch in told["mounts"].items():
    subprocess.run(["mount", "--bind", scratch, live], check=True)
settings, memory = Settings.load(Path(told["settings"])), Memory.load(Path(told["memory"]), Path(told["memory_root"]))
probe = lambda: json.loads(Path(told["said"]).read_text())
sys.exit(Rehearsal(settings, memory, probe, Path(told["root"]), Path(told["results"])).run())
"""
NAMESPACES = ["unshare", "--map-root-user", "--mount", "--net"]

needs_namespaces = pytest.mark.skipif(
    subprocess.run([*NAMESPACES, "true"], check=False, capture_output=True).returncode != 0,
    reason="this computer lets nobody make namespaces",
)


@dataclass
class Standby:
    """PC-B with a generation, a configuration, and a place for rehearsals."""

    pair: Pair
    place: Path
    environment: dict[str, str]

    def __post_init__(self) -> None:
        self.node = self.pair.b
        self.root = self.place / "rehearsal"
        self.root.mkdir()
        self.executable = self.place / "openclaw"
        self.configure()
        self.be_openclaw()

    def configure(self, **changes: Any) -> None:
        """What role rehearsal writes."""
        raw: dict[str, Any] = {"executable": str(self.executable), "state_dir": str(self.node.state), "port": 18790}
        told = {**raw, "run_seconds": 120, "credentials": True, **changes}
        (self.place / "rehearsal.json").write_text(json.dumps(told))

    def be_openclaw(self, instead: str = "") -> None:
        """Install the stand-in. ``instead``: cases of a shell's `case "$*" in` for what it does otherwise."""
        text = f'#!/bin/sh\nstandin="{sys.executable} {STANDIN}"\ncase "$*" in\n{instead}\nesac\nexec $standin "$@"\n'
        self.executable.write_text(text)
        self.executable.chmod(0o755)

    def rehearsal(self) -> Rehearsal:
        memory = Memory.load(self.node.settings, self.node.root)
        settings = Settings.load(self.place / "rehearsal.json")
        return Rehearsal(settings, memory, self.node.probe, self.root, self.node.results)

    def begin(self) -> subprocess.Popen[bytes]:
        """The unit's second step."""
        made = self.rehearsal()
        mounts = {str(self.node.state): str(made.scratch.state)}
        mounts |= {
            str(each.path): str(made.scratch.of(each).path)
            for each in made.memory.sets
            if not each.path.is_relative_to(self.node.state)
        }
        return self.run(NAMESPACES, STEP, mounts)

    def run(self, namespaces: list[str], step: str, mounts: dict[str, str]) -> subprocess.Popen[bytes]:
        told = {
            "mounts": mounts,
            "settings": str(self.place / "rehearsal.json"),
            "memory": str(self.node.settings),
            "memory_root": str(self.node.root),
            "said": str(self.node.said),
            "root": str(self.root),
            "results": str(self.node.results),
        }
        return subprocess.Popen(
            [*namespaces, sys.executable, "-c", step, json.dumps(told)],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def rehearse(self) -> Any:
        """All three steps, as the unit does them. Returns the result."""
        if self.rehearsal().prepare() == job.DONE:
            self.begin().wait()
        self.rehearsal().clear()
        assert sorted(self.root.iterdir()) == [], "everything is removed"
        return self.node.result("rehearsal")

    def gateways(self) -> list[int]:
        """Processes of a rehearsed gateway."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                line = (folder / "cmdline").read_bytes().decode().split("\0")
                mine = f"OPENCLAW_STATE_DIR={self.node.state}".encode() in (folder / "environ").read_bytes().split(
                    b"\0"
                )
            except OSError:
                continue
            if mine and "run" in line:
                found.append(int(folder.name))
        return found


@pytest.fixture
def standby(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Standby]:
    pair = Pair(tmp_path)
    monkeypatch.setenv("PATH", f"{pair.script.parent}:{os.environ['PATH']}")
    shared, agent = (pair.a.state / name for name in (SHARED, AGENT))
    database(shared, "cron_jobs", job_id="feed-the-geese")
    database(shared, "schema_meta", meta_key="startup-migrations", app_version=f"{VERSION}\n3")
    database(agent, "session_nodes", session_key="agent:main:main")
    pair.b.put("openclaw.json", json.dumps(CONFIG))
    pair.b.configure(run_seconds=300)  # a computer that runs many tests at once is slow
    assert pair.b.sync() == job.DONE
    environment = {
        **os.environ,
        "PYTHONPATH": LIBRARIES,
        "OPENCLAW_STATE_DIR": str(pair.b.state),
        "GATEWAY_TOKEN": TOKEN,
        "BOT_TOKEN": "123456:abcdefghijklmnopqrstuvwxyz",
    }
    made = Standby(pair, tmp_path, environment)
    yield made
    assert made.gateways() == []


def database(path: Path, table: str, **row: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as opened:
        opened.execute(f"CREATE TABLE {table} ({', '.join(row)})")
        opened.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", list(row.values()))
        opened.commit()


@needs_namespaces
def test_the_gateway_starts_from_the_last_generation_and_is_removed(standby: Standby) -> None:
    """Its channel is on in the configuration, and leads nowhere: it would never be ready."""
    before = standby.node.live()
    told = standby.rehearse()
    assert (told["result"], told["generation"]) == ("ok", standby.node.current.resolve().name), told
    assert told["captured_at"]
    for part in (
        f"OpenClaw {VERSION}, as on pc-a,",
        f"MEMORY.md ({len(NOTES.encode())} bytes)",
        "1 cron jobs",
        "1 sessions",
    ):
        assert part in told["message"]
    assert standby.node.live() == before


@needs_namespaces
def test_the_gateway_writes_into_the_scratch_folder_only(standby: Standby) -> None:
    """Also into the generation it came from nothing is written."""
    scribble = f'cd "$OPENCLAW_STATE_DIR"; echo changed > workspace/NEW.md; echo changed >> {SHARED}'
    standby.be_openclaw(f'"gateway run"*) {scribble} ;;')
    before = standby.node.live()
    assert standby.rehearse()["result"] == "ok"
    assert standby.node.live() == before
    assert standby.node.sync() == job.DONE
    assert standby.node.names() == [standby.node.current.resolve().name]
    told = standby.rehearse()
    assert told["result"] == "ok", told


@needs_namespaces
def test_the_state_directory_has_besides_what_the_live_one_has(standby: Standby) -> None:
    standby.node.put("extensions/geese/index.js", "export {}")
    standby.node.put("tmp/lock", "4711")
    standby.node.put("workspace/node_modules/huge.js", "no memory, and of a folder of memory")
    rehearsed = standby.rehearsal()
    assert rehearsed.prepare() == job.DONE
    copied = {path for path in rehearsed.scratch.state.rglob("*") if path.is_file()}
    assert {str(path.relative_to(rehearsed.scratch.state)) for path in copied} == {
        "openclaw.json",
        "extensions/geese/index.js",
        "workspace/MEMORY.md",
        SHARED,
        AGENT,
    }
    assert {path.stat().st_nlink for path in copied} == {1}, "the gateway writes into them"
    rehearsed.clear()


@needs_namespaces
def test_a_set_outside_the_state_directory_is_rehearsed_as_well(standby: Standby) -> None:
    for node in (standby.pair.a, standby.node):
        path = str(standby.place / node.name / "notes")
        node.configure(sets=[*node.raw["sets"], {"name": "notes", "path": path, "include": ["**"]}])
    (standby.place / "pc-a/notes").mkdir()
    (standby.place / "pc-a/notes/geese.md").write_text("eleven")
    assert standby.node.sync() == job.DONE
    live = standby.place / "pc-b/notes/geese.md"
    live.write_text("twelve")
    standby.be_openclaw(f'"gateway run"*) grep -q eleven {live} || exit 9; echo thirteen > {live} ;;')
    told = standby.rehearse()
    assert told["result"] == "ok", told
    assert live.read_text() == "twelve"


def test_a_configuration_of_the_generation_comes_before_the_live_one(standby: Standby) -> None:
    """A set may lie in the state directory itself, beside what is no memory."""
    for node in (standby.pair.a, standby.node):
        config = {"name": "config", "path": str(node.state), "include": ["openclaw.json", "gone.json"]}
        node.configure(sets=[*node.raw["sets"], config])
    standby.pair.a.put("openclaw.json", json.dumps({**CONFIG, "logging": {}}))
    assert standby.node.sync() == job.DONE
    standby.node.put("openclaw.json", "{}")
    standby.node.put("gone.json", "{}")
    standby.node.put(".env", "GEESE=11")
    assert standby.rehearsal().prepare() == job.DONE
    assert "logging" in json.loads((standby.root / "state/openclaw.json").read_text())
    assert not (standby.root / "state/gone.json").exists()
    assert (standby.root / "state/.env").read_text() == "GEESE=11"
    standby.rehearsal().clear()


def test_a_configuration_that_this_node_refuses_is_not_the_one_it_would_start_from(standby: Standby) -> None:
    """As at a takeover: the live one stays."""
    sets = standby.node.raw["sets"]
    config: dict[str, Any] = {"name": "config", "include": ["openclaw.json"]}
    for node in (standby.pair.a, standby.node):
        node.configure(sets=[*node.raw["sets"], {**config, "path": str(node.state)}])
    standby.pair.a.put("openclaw.json", json.dumps({**CONFIG, "env": "${GEESE}"}))
    assert standby.node.sync() == job.DONE
    standby.node.configure(sets=[*sets, {**config, "path": str(standby.node.state), "checked": "config"}])
    guard: dict[str, Any] = {"path": str(standby.node.state / "openclaw.json"), "executable": str(standby.executable)}
    guard |= {"environment": ["GATEWAY_TOKEN", "BOT_TOKEN"], "sentinels": [], "shrunk_share": 0.5}
    guard |= {"keep": 3, "validate_seconds": 30, "auto_rollback": False}
    standby.node.settings.with_name("config.json").write_text(json.dumps(guard))
    standby.node.put("openclaw.json", json.dumps(CONFIG))
    assert standby.rehearsal().prepare() == job.DONE
    assert json.loads((standby.root / "state/openclaw.json").read_text()) == CONFIG
    standby.rehearsal().clear()


@needs_namespaces
def test_a_secret_that_the_standby_lacks_is_named(standby: Standby) -> None:
    del standby.environment["BOT_TOKEN"]
    told = standby.rehearse()
    assert told["result"] == "failed"
    assert '"BOT_TOKEN" is missing' in told["message"]


@needs_namespaces
def test_a_configuration_that_the_standby_refuses_is_told(standby: Standby) -> None:
    standby.node.put("openclaw.json", json.dumps({**CONFIG, "geese": 11}))
    told = standby.rehearse()
    assert told["result"] == "failed"
    assert "ended with 78" in told["message"]
    assert "unknown key: geese" in told["message"]


@needs_namespaces
def test_what_the_gateway_says_is_told_without_secrets(standby: Standby) -> None:
    """Neither those of the environment, nor such as stand in the configuration itself."""
    plain = "123456:zyxwvutsrqponmlkjihgfedcba"
    standby.node.put("openclaw.json", json.dumps({**CONFIG, "channels": {"telegram": {"botToken": plain}}}))
    standby.be_openclaw(f'"gateway run"*) echo "error: $GATEWAY_TOKEN and {plain} are refused"; exit 1 ;;')
    assert standby.rehearse()["message"].endswith("error: $GATEWAY_TOKEN and <secret> are refused")


@needs_namespaces
def test_another_version_on_the_active_node_is_found(standby: Standby) -> None:
    standby.be_openclaw('--version) echo "OpenClaw 2026.9.5 (abc)"; exit ;;')
    told = standby.rehearse()
    assert told["result"] == "failed"
    assert "pc-a runs OpenClaw 2026.9.6 and this node has 2026.9.5" in told["message"]
    standby.configure(other_version=True)  # as upgrade.yml has it
    told = standby.rehearse()
    assert told["result"] == "ok"
    assert told["message"].startswith("OpenClaw 2026.9.5 was ready")


PENNILESS = 'models*) echo \'{"auth": {"missingProvidersInUse": ["openai"]}}\'; exit 1 ;;'


@needs_namespaces
@pytest.mark.parametrize(
    ("instead", "said"),
    [
        ("*cron.list*) echo '{\"jobs\": []}'; exit ;;", "does not know 1 of 1 cron jobs: feed-the-geese"),
        ("*sessions.list*) echo '{\"totalCount\": 0}'; exit ;;", "knows no session, and this generation has 1"),
        ('"gateway run"*) echo "- and a cat" >> "$OPENCLAW_STATE_DIR/workspace/MEMORY.md" ;;', "does not know what"),
        ("*cron.list*) echo '{\"cron\": []}'; exit ;;", "in a way that is not known: KeyError('jobs')"),
        ('*agents.list*) echo "refused" >&2; exit 1 ;;', "does not answer agents.list (1): refused"),
        (
            PENNILESS,
            "agent main has no credentials here for openai",
        ),
    ],
    ids=["cron jobs", "sessions", "notes", "another form", "no answer", "credentials"],
)
def test_what_the_gateway_does_not_know_is_named(standby: Standby, instead: str, said: str) -> None:
    standby.be_openclaw(instead)
    told = standby.rehearse()
    assert told["result"] == "failed"
    assert said in told["message"]


@needs_namespaces
def test_joe_may_have_no_model(standby: Standby) -> None:
    standby.be_openclaw(PENNILESS)
    standby.configure(credentials=False)
    assert standby.rehearse()["result"] == "ok"


@needs_namespaces
def test_a_fresh_install_has_little_to_know(standby: Standby) -> None:
    for name in ("workspace/MEMORY.md", SHARED, AGENT):
        standby.pair.a.put(name, None)
    standby.pair.a.put("workspace/SOUL.md", "# Joe\n")
    assert standby.node.sync("--accept-losses") == job.DONE
    told = standby.rehearse()
    assert told["result"] == "ok", told
    assert told["message"].endswith("no MEMORY.md, 0 cron jobs, 0 sessions")


@needs_namespaces
def test_a_gateway_that_never_gets_ready_is_given_up(standby: Standby) -> None:
    standby.be_openclaw('"gateway run"*) echo "error: waiting for geese"; while :; do sleep 1; done ;;')
    standby.configure(run_seconds=3)
    told = standby.rehearse()
    assert told["result"] == "failed"
    assert "not ready when the run took longer than 3 s" in told["message"]
    assert told["message"].endswith("error: waiting for geese")


@needs_namespaces
def test_a_takeover_waits_for_no_rehearsal_and_ends_it(standby: Standby) -> None:
    """The memory is published while the rehearsed gateway runs, which is gone a moment later, with its helpers."""
    forever = "while :; do sleep 1; done"
    standby.be_openclaw(f'"gateway run"*) sh -c "{forever}" helper run & {forever} ;;')
    standby.pair.a.be("passive", 1)
    assert standby.rehearsal().prepare() == job.DONE
    running = standby.begin()
    wait_for(lambda: standby.gateways() != [])
    began = time.monotonic()
    standby.node.serve(term=2)
    assert time.monotonic() - began < 2
    assert standby.node.has("workspace/MEMORY.md") == NOTES
    assert running.wait(timeout=30) == job.DONE
    assert standby.gateways() == []
    told = standby.node.result("rehearsal")
    assert (told["result"], told["message"]) == ("skipped", "this node became active")
    standby.rehearsal().clear()


@needs_namespaces
def test_one_that_is_killed_has_failed_and_leaves_nothing(standby: Standby) -> None:
    standby.be_openclaw('"gateway run"*) while :; do sleep 1; done ;;')
    assert standby.rehearsal().prepare() == job.DONE
    running = standby.begin()
    wait_for(lambda: standby.gateways() != [])
    running.kill()
    running.wait()
    for process in standby.gateways():  # as systemd does, with all of the unit
        os.kill(process, 9)
    assert standby.rehearsal().clear() == job.FAILED
    assert "ended before it was done" in standby.node.result("rehearsal")["message"]
    assert sorted(standby.root.iterdir()) == []
    wait_for(lambda: standby.gateways() == [])


@needs_namespaces
def test_what_a_killed_one_left_is_in_nobody_s_way(standby: Standby) -> None:
    standby.rehearsal().prepare()
    assert standby.rehearse()["result"] == "ok"


def test_the_active_node_has_nothing_to_rehearse(standby: Standby) -> None:
    standby.node.be("active", 2, "ready")
    told = standby.rehearse()
    assert (told["result"], told["message"]) == ("skipped", "this node is active")


def test_without_a_generation_there_is_nothing_to_start_from(standby: Standby) -> None:
    standby.node.current.unlink()
    assert standby.rehearse()["message"] == "there is no generation yet"


def test_a_bit_that_flipped_in_the_generation_is_found(standby: Standby) -> None:
    kept = standby.node.current / "workspace/MEMORY.md"
    kept.chmod(0o600)
    kept.write_bytes(kept.read_bytes().replace(b"geese", b"gEese"))
    told = standby.rehearse()
    assert told["result"] == "failed"
    assert "this copy is damaged" in told["message"]


def test_a_disk_without_room_is_left_alone(standby: Standby, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_RESERVE", 1.0)
    monkeypatch.setattr(room, "_RESERVE_BYTES", 1 << 60)
    told = standby.rehearse()
    assert told["result"] == "failed"
    assert "too little room" in told["message"]


def test_a_silent_guard_is_told_of(standby: Standby) -> None:
    def silent() -> Any:
        raise job.JobFailed("the guard does not answer")

    assert replace(standby.rehearsal(), probe=silent).prepare() == job.FAILED
    assert standby.node.result("rehearsal")["message"] == "the guard does not answer"
    standby.rehearsal().clear()


@needs_namespaces
@pytest.mark.parametrize(
    ("namespaces", "said"),
    [(["unshare", "--map-root-user"], "way out"), (["unshare", "--map-root-user", "--net"], "is the live one")],
    ids=["network", "folders"],
)
def test_it_starts_nothing_where_joe_himself_would_start(standby: Standby, namespaces: list[str], said: str) -> None:
    assert standby.rehearsal().prepare() == job.DONE
    step = STEP if "--net" in namespaces else STEP.replace("    fcntl.ioctl", "    # ").replace("asked:", "asked: pass")
    assert standby.run(namespaces, step, {}).wait() == job.FAILED
    assert said in standby.node.result("rehearsal")["message"]
    standby.rehearsal().clear()


def test_settings_without_sense_are_named(tmp_path: Path) -> None:
    (tmp_path / "rehearsal.json").write_text("{}")
    with pytest.raises(job.JobFailed, match=r"run site\.yml again"):
        Settings.load(tmp_path / "rehearsal.json")


def test_values_of_variables_become_their_names() -> None:
    environment = {"A": "12345678", "B": "123456789", "C": "short", "HOME": "/srv/openclaw"}
    told = without_secrets("12345678 123456789 short /srv/openclaw/x", environment)
    assert told == "$A $B short /srv/openclaw/x"


@pytest.mark.parametrize(("result", "code"), [("ok", job.DONE), ("skipped", job.DONE), ("failed", job.FAILED)])
def test_people_are_shown_what_came_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], result: str, code: int
) -> None:
    systemctl = tmp_path / "systemctl"
    answer = json.dumps({"job": "rehearsal", "result": result, "message": "so it was"})
    systemctl.write_text(f"#!/bin/sh\n[ $1 = stop ] || echo '{answer}' > {tmp_path}/rehearsal.json\n")
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert rehearsal.main(["--json"], tmp_path) == code
    shown = capsys.readouterr()
    assert json.loads(shown.out)["result"] == result
    assert ("so it was" in shown.err) == (result == "failed")


def test_a_rehearsal_that_was_missed_is_made_up_for_when_the_guard_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = json.dumps({"job": "rehearsal", "result": "ok", "message": "", "finished_at": job.utc_now()})
    calls, systemctl, result = tmp_path / "calls", tmp_path / "systemctl", tmp_path / "rehearsal.json"
    systemctl.write_text(f"#!/bin/sh\necho $1 >> {calls}; echo '{answer}' > {result}\n")
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(rehearsal, "_AGAIN_SECONDS", 0.0)
    asked = iter([job.JobFailed("the guard does not answer"), None])

    def probe() -> dict[str, Any]:
        if trouble := next(asked):
            raise trouble
        return {}

    monkeypatch.setattr(own_guard, "probe", probe)
    daily = ["--if-older-than", "86400"]
    assert rehearsal.main(daily, tmp_path) == job.DONE
    assert (calls.read_text().split(), list(asked)) == (["start", "stop"], [])
    assert rehearsal.main(daily, tmp_path) == job.DONE
    assert calls.read_text().split() == ["start", "stop"]


def test_a_first_rehearsal_that_is_still_to_come_is_not_missed_at_a_boot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what role rehearsal puts in place of its first result, which its own account must be able to replace."""
    told = yaml.safe_load((ROOT / "roles/rehearsal/vars/main.yml").read_text())["_rehearsal_scheduled"]
    tasks = yaml.safe_load((ROOT / "roles/rehearsal/tasks/service.yml").read_text())
    notes = [task for task in tasks if "_rehearsal_scheduled" in str(task)]
    assert [task["ansible.builtin.copy"]["owner"] for task in notes] == ["{{ openclaw_user }}"]
    (tmp_path / "rehearsal.json").write_text(json.dumps({**told, "finished_at": job.utc_now()}))
    monkeypatch.setenv("PATH", str(tmp_path))  # no systemctl
    assert rehearsal.main(["--if-older-than", "86400"], tmp_path) == job.DONE


def test_a_unit_that_leaves_no_result_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    systemctl = tmp_path / "systemctl"
    systemctl.write_text("#!/bin/sh\necho 'Unit dualjoe-rehearsal.service not found.' >&2\nexit 5\n")
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(job.JobFailed, match=r"left no result: Unit dualjoe-rehearsal\.service not found"):
        rehearsal.main([], tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(job.JobFailed, match="as root"):
        rehearsal.main([], tmp_path)


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
