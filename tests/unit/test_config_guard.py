"""The configuration's guard on a node, and as the gate between two: real files and rsync; OpenClaw is a script here."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from dualjoe_jobs import config_check, config_diff, config_guard, config_list, config_rollback, job, memory_restore
from dualjoe_jobs.cli import main as dualjoe
from dualjoe_jobs.config_guard import ConfigGuard
from dualjoe_jobs.job import JobFailed
from memory_pair import DEFAULTS as MEMORY
from memory_pair import LIBRARIES, NOTES, ROOT, Node, Pair

DEFAULTS = yaml.safe_load((ROOT / "roles/config_guard/defaults/main.yml").read_text(encoding="utf-8"))
BOT, NEW_BOT, TOKEN = "7000000001:not-a-real-one-0123456789", "7000000001:another-one-abcdef", "gw-0f9a8b7c6d5e4f3a2b1c"
NEW_NOTES = f"{NOTES}- She has a dog.\n"

# It says what the real one says, and writes down that it was asked.
OPENCLAW = """#!/bin/sh
[ "$*" = "config validate --json" ] || exit 64
echo "$OPENCLAW_STATE_DIR" >> "{calls}"
config=$(cat "$OPENCLAW_CONFIG_PATH") || exit 65
case "$config" in
*hang*) exec sleep 60 ;;
*busy*) [ "$(wc -l < "{calls}")" -gt 2 ] || exec sleep 60 ;;
*crash*) echo 'Error: cannot find module' >&2; exit 3 ;;
*unknown*)
    echo '{{"valid": false, "issues": [{{"path": "gateway", "message": "Unrecognized key: unknown, with {bot}"}}]}}'
    exit 1 ;;
esac
echo '{{"valid": true, "path": "x", "warnings": []}}'
"""


def text(bot: str = BOT, **more: Any) -> str:
    """A good configuration as people write it: JSON, and yet with a comment."""
    telegram = {"enabled": True, "botToken": bot, "allowFrom": ["*"]}
    gateway = {"mode": "local", "port": 18789, "auth": {"token": TOKEN}}
    return "// Joe\n" + json.dumps({"gateway": gateway, "channels": {"telegram": telegram}, **more}, indent=2) + "\n"


class Guarded:
    """A node with its configuration's guard."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.live = node.state / "openclaw.json"
        self.settings = node.settings.with_name("config.json")
        self.root = node.root.with_name("config")
        self.root.mkdir()
        self.calls = self.root.with_name("openclaw.calls")
        self.executable = self.root.with_name("openclaw")
        self.executable.write_text(OPENCLAW.format(calls=self.calls, bot=BOT))
        self.executable.chmod(0o755)
        self.raw: dict[str, Any] = {
            "version": 1,
            "path": str(self.live),
            "executable": str(self.executable),
            "environment": ["HOME", "BOT"],
            "sentinels": DEFAULTS["config_guard_sentinels"],
            "shrunk_share": 0.5,
            "keep": 3,
            "validate_seconds": 10,
            "auto_rollback": False,
        }
        self.configure()
        self.write(text())

    def configure(self, **changes: Any) -> None:
        self.raw |= changes
        self.settings.write_text(json.dumps(self.raw))

    def write(self, content: str | None) -> None:
        if content is None:
            self.live.unlink()
        else:
            self.live.write_text(content)

    def read(self) -> str:
        return self.live.read_text()

    @property
    def guard(self) -> ConfigGuard:
        return ConfigGuard.load(self.settings, self.root)

    def check(self, *words: str) -> int:
        return config_check.main(words, self.settings, self.root, self.node.results)

    def roll_back(self, *words: str) -> int:
        return config_rollback.main(words, self.settings, self.root, self.node.probe)

    def told(self) -> str:
        """What T440 would alert of; nothing while all is well."""
        result = self.node.result("config-check")
        return str(result["message"]) if result["result"] == "failed" else ""

    def versions(self, kind: str = "good") -> list[str]:
        folder = self.root / kind
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []

    def asked(self) -> int:
        return len(self.calls.read_text().splitlines()) if self.calls.exists() else 0


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((config_check, "_AGAIN_SECONDS"), (config_rollback, "_TAKEN_UP_SECONDS")):
        monkeypatch.setattr(module, name, 0.0)
    monkeypatch.setattr(config_rollback, "_LOOK_SECONDS", 0.01)


@pytest.fixture
def a(tmp_path: Path) -> Guarded:
    return Guarded(Node(tmp_path, "pc-a", "pc-b"))


# ---- the check


def test_a_good_one_is_kept_once_and_openclaw_is_asked_once(a: Guarded) -> None:
    for _ in range(3):
        assert a.check() == job.DONE
    assert (len(a.versions()), a.asked(), a.told()) == (1, 1, "")
    version = a.root / "good" / a.versions()[0]
    assert version.read_text() == text()
    assert (version.stat().st_mode & 0o777, version.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    a.write(text(NEW_BOT))
    assert a.check() == job.DONE
    assert (len(a.versions()), a.asked()) == (2, 2)


def test_openclaw_looks_at_a_copy_beside_the_live_file(a: Guarded) -> None:
    a.check()
    assert a.calls.read_text() == f"{a.live.parent}\n"
    assert [path.name for path in a.live.parent.iterdir()] == ["openclaw.json"]


def test_another_openclaw_is_asked_again(a: Guarded) -> None:
    a.check()
    os.utime(a.executable, (1, 1))
    a.check()
    assert a.asked() == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (text()[:150], "(parse)"),
        ("", "(empty)"),
        ("{}", "(empty)"),
        (text("placeholder-kept"), "channels.telegram.botToken: has a placeholder"),
        (text("${NOBODY}"), "names ${NOBODY}, which is not set"),
        (text(""), "channels.telegram.botToken: was a secret"),
        (text(unknown=1), "gateway: Unrecognized key: unknown"),
        (None, "(missing)"),
    ],
    ids=["cut off", "no bytes", "no settings", "placeholder", "unset", "vanished", "refused by openclaw", "missing"],
)
def test_a_bad_one_is_told_and_not_kept(a: Guarded, content: str | None, said: str) -> None:
    a.check()
    a.write(content)
    assert a.check() == job.FAILED
    assert said in a.told()
    assert "playbooks/config_rollback.yml" in a.told()
    assert len(a.versions()) == 1
    for secret in (BOT, TOKEN):
        assert secret not in a.told() + (a.root / "asked.json").read_text()
    a.write(text(NEW_BOT))
    assert a.check() == job.DONE


def test_a_file_that_it_includes_is_looked_at_with_it(a: Guarded) -> None:
    a.check()
    part = a.live.parent / "parts" / "channels.json5"
    part.parent.mkdir()
    for bot, result in ((BOT, job.DONE), ("placeholder-kept", job.FAILED), (NEW_BOT, job.DONE)):
        part.write_text(json.dumps(json.loads(text(bot).partition("\n")[2])["channels"]))
        a.write(json.dumps({"gateway": {"auth": {"token": TOKEN}}, "channels": {"$include": "./parts/channels.json5"}}))
        assert a.check() == result
    assert a.asked() == 3, "once for the whole, and for each good content of its parts"
    part.unlink()
    assert a.check() == job.FAILED
    assert "openclaw.json includes ./parts/channels.json5, which is missing" in a.told()


@pytest.mark.parametrize("way", ["a path", "a whole path", "a link", "a folder", "NUL", "a thousand files"])
def test_what_leads_out_of_its_folder_is_not_included(a: Guarded, tmp_path: Path, way: str) -> None:
    outside = tmp_path / "outside.json5"
    outside.write_text("{a: 1}")
    link = a.live.with_name("link.json5")
    link.symlink_to(outside)
    a.live.with_name("good.json5").write_text("{a: 1}")
    named: Any = {
        "a path": "../../outside.json5",
        "a whole path": str(outside),
        "a link": "link.json5",
        "a folder": ".",
        "NUL": "x\0y",
        "a thousand files": ["good.json5"] * 1001,
    }[way]
    a.write(json.dumps({"a": {"$include": named}}))
    assert a.check() == job.FAILED
    assert "(include)" in a.told()
    a.write(json.dumps({"a": {"$include": str(a.live.with_name("good.json5"))}}))
    assert a.check() == job.DONE


def test_losses_that_were_meant(a: Guarded) -> None:
    a.check()
    a.write(json.dumps({"gateway": {"mode": "local"}}))
    assert a.check() == job.FAILED
    assert a.check("--accept-losses") == job.DONE
    assert a.check() == job.DONE
    a.write(text("REDACTED"))
    assert a.check("--accept-losses") == job.FAILED, "a placeholder is no loss"


def test_what_is_being_written_is_looked_at_again(a: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    a.check()
    a.write(text(NEW_BOT)[:100])
    monkeypatch.setattr("dualjoe_jobs.config_check.time.sleep", lambda _seconds: a.write(text(NEW_BOT)))
    assert a.check() == job.DONE
    assert len(a.versions()) == 2


@pytest.mark.parametrize(
    ("word", "said"), [("hang", "was not done within 0.5 s"), ("crash", "could not be asked")], ids=["hangs", "crashes"]
)
def test_openclaw_that_gives_no_answer_is_told_and_asked_rarely(
    a: Guarded, word: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    a.configure(validate_seconds=0.5, auto_rollback=True)
    a.check()
    a.write(text(note=word))
    for _ in range(2):
        assert a.check() == job.FAILED
    assert "could not be checked" in a.told()
    assert said in a.told()
    assert (len(a.versions()), a.asked()) == (1, 3)
    assert a.read() == text(note=word), "nobody rolls back because of that"
    said_at = json.loads((a.root / "asked.json").read_text())
    later = max(one["at"] for one in said_at.values()) + config_guard._ASK_AGAIN_SECONDS
    monkeypatch.setattr("dualjoe_jobs.config_guard.time.time", lambda: later)
    a.check()
    assert a.asked() == 4


def test_a_clock_that_is_set_back_keeps_no_good_configuration_waiting(
    a: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    a.configure(validate_seconds=1)
    a.write(text(note="busy"))
    for _ in range(2):
        assert a.check() == job.FAILED, "it has given no answer twice just now"
    assert a.asked() == 2
    a_day_before = time.time() - 86400
    monkeypatch.setattr("dualjoe_jobs.config_guard.time.time", lambda: a_day_before)
    assert a.check() == job.DONE
    assert (a.told(), len(a.versions()), a.asked()) == ("", 1, 3)


def test_a_machine_that_is_busy_while_the_gateway_starts_is_no_alert(a: Guarded) -> None:
    a.configure(validate_seconds=1)
    a.check()
    a.write(text(note="busy"))
    assert a.check() == job.DONE
    assert (a.told(), len(a.versions()), a.asked()) == ("", 2, 3)


def test_an_openclaw_that_is_not_there(a: Guarded) -> None:
    a.configure(executable="/does/not/exist")
    assert a.check() == job.FAILED
    assert "could not be asked" in a.told()


def test_what_is_told_fits_into_an_answer_of_the_guard(a: Guarded) -> None:
    a.check()
    a.write(json.dumps({"x" * 100_000: {"token": "REDACTED"}, "y": "${%s}" % ("N" * 100_000)}))
    assert a.check() == job.FAILED
    assert len(a.told()) < 2000


@pytest.mark.parametrize("what", ["folder", "fifo", "huge"])
def test_what_is_no_file_is_told(a: Guarded, what: str) -> None:
    a.live.unlink()
    if what == "folder":
        a.live.mkdir()
    elif what == "fifo":
        os.mkfifo(a.live)
    else:
        with a.live.open("wb") as file:
            file.truncate(1 << 30)
    assert a.check() == job.FAILED
    assert str(a.live) in a.told()


def test_variables_of_a_file_beside_it_count(a: Guarded) -> None:
    (a.live.parent / ".env").write_text("# mine\nexport MINE=x\nEMPTY=\n")
    a.write(text("${MINE}"))
    assert a.check() == job.DONE
    a.write(text("${EMPTY}"))
    assert a.check() == job.FAILED


def test_the_oldest_versions_go_and_the_newest_never(a: Guarded) -> None:
    for number in range(6):
        a.write(text(number=number))
        assert a.check() == job.DONE
    assert len(a.versions()) == 3
    assert (a.root / "good" / a.versions()[-1]).read_text() == text(number=5)


def test_without_settings_it_says_what_to_do(a: Guarded) -> None:
    a.settings.unlink()
    assert a.check() == job.FAILED
    assert "run site.yml again" in a.told()


# ---- versions, for people


def test_list_and_diff_show_no_secret(a: Guarded, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(JobFailed, match="no good version"):
        config_diff.main([], a.settings, a.root)
    a.check()
    a.write(text(NEW_BOT, note="hello"))
    config_diff.main([], a.settings, a.root)
    shown = capsys.readouterr().out
    assert shown.splitlines()[0] == f"--- {a.versions()[0]}"
    assert "-channels.telegram.botToken = <secret 2>\n+channels.telegram.botToken = <secret 3>" in shown
    assert '+note = "hello"' in shown
    a.roll_back(a.versions()[0])
    config_list.main(["--json"], a.settings, a.root)
    shown += capsys.readouterr().out
    told = json.loads(shown.splitlines()[-1])["versions"]
    assert [(one["kind"], one["live"]) for one in told] == [("good", True), ("replaced", False)]
    config_diff.main([a.versions("replaced")[0]], a.settings, a.root)
    shown += capsys.readouterr().out
    assert not [secret for secret in (BOT, NEW_BOT, TOKEN) if secret in shown]
    with pytest.raises(JobFailed, match="there is no version 'x'"):
        config_diff.main(["x"], a.settings, a.root)


def test_the_commands_have_help(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("check", "list", "diff", "rollback"):
        with pytest.raises(SystemExit):
            dualjoe(["config", name, "--help"])
        assert capsys.readouterr().out.startswith(f"usage: dualjoe config {name}")


# ---- rollback


def test_a_rollback_brings_the_last_good_one_back(a: Guarded, capsys: pytest.CaptureFixture[str]) -> None:
    a.check()
    a.live.chmod(0o640)
    a.write(text("placeholder-kept"))
    before = a.live.stat()
    assert a.roll_back("--dry-run") == job.DONE
    assert "would be brought back" in capsys.readouterr().out
    assert a.read() == text("placeholder-kept")
    assert a.roll_back("--json") == job.DONE
    told = json.loads(capsys.readouterr().out)
    assert (told["result"], told["version"]) == ("ok", a.versions()[0])
    assert a.read() == text()
    after = a.live.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    aside = [(a.root / "replaced" / name).read_text() for name in a.versions("replaced")]
    assert aside == [text("placeholder-kept")]
    assert a.roll_back("--json") == job.DONE
    assert json.loads(capsys.readouterr().out)["result"] == "skipped"
    assert a.check() == job.DONE


def test_a_rollback_brings_a_missing_one_back(a: Guarded) -> None:
    a.check()
    a.write(None)
    a.roll_back()
    assert a.read() == text()
    assert a.live.stat().st_mode & 0o777 == 0o600


def test_a_rollback_skips_versions_that_are_not_good_any_more(a: Guarded) -> None:
    a.check()
    a.write(text("${BOT}"))
    a.check()
    a.configure(environment=["HOME"])
    assert a.check() == job.FAILED
    a.roll_back()
    assert a.read() == text()
    a.configure(environment=["HOME", "BOT"])
    a.write(text("${BOT}"))
    a.check()
    a.configure(environment=["HOME"])
    a.write("{")
    a.roll_back()
    assert a.read() == text(), "the last good one is not good here any more"
    with pytest.raises(JobFailed, match=r"is not good: .*BOT"):
        a.roll_back(a.versions()[1])


def test_a_named_version_is_brought_back_although_all_is_well(a: Guarded) -> None:
    a.check()
    a.write(text(NEW_BOT))
    a.check()
    a.roll_back(a.versions()[0])
    assert a.read() == text()
    assert (a.root / "good" / a.versions()[-1]).read_text() == text(), "it is the last good one now"
    with pytest.raises(JobFailed, match="there is no version '20200101T000000Z'"):
        a.roll_back("20200101T000000Z")


def test_without_a_good_version_nothing_is_touched(a: Guarded) -> None:
    a.write(text("REDACTED"))
    with pytest.raises(JobFailed, match="there is no good version"):
        a.roll_back()
    assert a.read() == text("REDACTED")


def test_a_rollback_follows_a_link_and_leaves_it(a: Guarded) -> None:
    elsewhere = a.root.with_name("elsewhere.json")
    a.live.rename(elsewhere)
    a.live.symlink_to(elsewhere)
    a.check()
    a.write("{")
    a.roll_back()
    assert a.live.is_symlink()
    assert elsewhere.read_text() == text()


def test_the_gateway_is_seen_ready(a: Guarded) -> None:
    a.check()
    a.write("{")
    states = iter(["unready", "unready", "ready"])

    def probe() -> Any:
        return {"role": "active", "gateway": {"state": next(states), "detail": "not ready: telegram"}}

    assert config_rollback.main(["--wait", "5"], a.settings, a.root, probe) == job.DONE
    a.write("{")
    dead: Any = {"role": "active", "gateway": {"state": "unready", "detail": "not ready: telegram"}}
    with pytest.raises(JobFailed, match=r"the gateway is unready \(not ready: telegram\)"):
        config_rollback.main(["--wait", "0"], a.settings, a.root, lambda: dead)
    assert a.read() == text()
    assert config_rollback.wait_until_ready(a.node.probe, 0).startswith("this node is passive")


def test_by_itself_only_where_that_is_wished(a: Guarded) -> None:
    a.check()
    a.configure(auto_rollback=True)
    a.write(text("placeholder-kept"))
    assert a.check() == job.FAILED, "it is told of all the same"
    assert "By itself: version" in a.told()
    assert a.read() == text()
    assert a.check() == job.DONE


def test_by_itself_without_a_good_version(a: Guarded) -> None:
    a.configure(auto_rollback=True)
    a.write(text("placeholder-kept"))
    assert a.check() == job.FAILED
    assert "could not be rolled back" in a.told()


STEPS = ["os.fsync", "os.fchmod", "pathlib.Path.replace", "os.chown", "os.unlink"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("call", range(4))
def test_a_rollback_that_is_killed_leaves_one_of_the_two(a: Guarded, step: str, call: int) -> None:
    """kill -9 at each of its steps; the next one does all of it."""
    a.check()
    bad = text("placeholder-kept")
    a.write(bad)
    module, _, name = step.rpartition(".")
    code = f"""
import importlib, os, signal, sys, pathlib
from dualjoe_jobs import config_rollback
owner = {"pathlib.Path" if module == "pathlib.Path" else "os"}
real, calls = owner.{name}, [0]
def killed(*arguments, **words):
    calls[0] += 1
    if calls[0] > {call}:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments, **words)
owner.{name} = killed
config_rollback.main([], pathlib.Path({str(a.settings)!r}), pathlib.Path({str(a.root)!r}), dict)
"""
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": LIBRARIES}, check=False)
    assert a.read() in (bad, text())
    assert [(a.root / "good" / name).read_text() for name in a.versions() if not name.startswith(".")] == [text()]
    a.roll_back()
    assert a.read() == text()
    assert a.check() == job.DONE


def test_two_runs_at_once(a: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_check, "_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(config_rollback, "_LOCK_SECONDS", 0.0)
    with (a.root / "lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert a.check() == job.BUSY
        assert a.roll_back() == job.BUSY


# ---- between two nodes

needs_rsync = pytest.mark.skipif(
    shutil.which("rsync") is None or shutil.which("rrsync") is None, reason="rsync and rrsync are not installed"
)
SET = next(each for each in MEMORY["memory_sync_sets"] if each.get("checked"))


class GuardedPair(Pair):
    """Two nodes that share their configuration."""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self.ga, self.gb = Guarded(self.a), Guarded(self.b)
        for node in (self.a, self.b):
            node.configure(sets=[*node.raw["sets"], {**SET, "path": str(node.state)}])
        for guarded in (self.ga, self.gb):
            assert guarded.check() == job.DONE

    def sync(self) -> str:
        """The message of a sync that does what it is for."""
        assert self.b.sync() == job.DONE, self.b.result()["message"]
        return str(self.b.result()["message"])


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GuardedPair:
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return GuardedPair(tmp_path)


@needs_rsync
def test_a_good_configuration_travels_with_the_memory(pair: GuardedPair) -> None:
    pair.ga.write(
        f"{{gateway:{{mode:'local', auth:{{token:'{TOKEN}'}}}}, /* JSON5 */\n"
        f"channels:{{telegram:{{botToken:'{NEW_BOT}',}}}}}}"
    )
    assert "config" not in pair.sync()
    assert pair.gb.read() == pair.ga.read()
    assert pair.gb.live.stat().st_mode & 0o777 == 0o600
    assert pair.gb.check() == job.DONE
    assert len(pair.gb.versions()) == 2
    assert sorted(pair.b.live()) == ["openclaw.json", "workspace/MEMORY.md"], "nothing else of that folder"


@needs_rsync
@pytest.mark.parametrize(
    "bad",
    [text()[:150], "{}", text("placeholder-kept"), text(""), text(unknown=1), None],
    ids=["cut off", "empty", "placeholder", "vanished", "refused by openclaw", "missing"],
)
def test_a_bad_one_is_withheld_and_all_else_goes_on(pair: GuardedPair, bad: str | None) -> None:
    pair.sync()
    good = pair.gb.read()
    pair.ga.write(bad)
    pair.a.put("workspace/MEMORY.md", NEW_NOTES)
    assert "withheld by the source: config (" in pair.sync()
    assert pair.b.has("workspace/MEMORY.md") == NEW_NOTES
    assert pair.gb.read() == good
    assert (pair.b.current / "config/openclaw.json").read_text() == good, "the generation has a good one as well"
    assert pair.gb.check() == job.DONE
    pair.ga.roll_back()
    assert "config" not in pair.sync()


@needs_rsync
def test_a_bad_one_holds_up_nothing_where_the_copy_must_be_made_anew(pair: GuardedPair) -> None:
    pair.sync()
    good = pair.gb.read()
    pair.ga.write(text("placeholder-kept"))
    pair.a.put("workspace/MEMORY.md", NEW_NOTES)
    (pair.a.root / "export/index.json").unlink()
    assert "withheld by the source: config (" in pair.sync()
    assert pair.b.has("workspace/MEMORY.md") == NEW_NOTES
    assert pair.gb.read() == good
    pair.ga.roll_back()
    assert "config" not in pair.sync()
    assert pair.gb.read() == (pair.b.current / "config/openclaw.json").read_text() == good


@needs_rsync
def test_one_that_was_never_good_is_not_spoken_of(pair: GuardedPair) -> None:
    pair.ga.write("{")
    own = pair.gb.read()
    assert "withheld by the source: config" in pair.sync()
    assert not (pair.b.current / "config").exists()
    assert pair.gb.read() == own


@needs_rsync
def test_one_that_the_standby_cannot_use_is_not_published(pair: GuardedPair) -> None:
    """A variable that only PC-A has, or another OpenClaw: PC-B keeps what it can start with, and tells."""
    pair.ga.configure(environment=["HOME", "BOT", "ONLY_HERE"])
    pair.ga.write(text("${ONLY_HERE}"))
    pair.a.put("workspace/MEMORY.md", NEW_NOTES)
    own = pair.gb.read()
    assert "not published, as it is bad on this node: config (" in pair.sync()
    assert pair.gb.read() == own
    assert pair.b.has("workspace/MEMORY.md") == NEW_NOTES
    assert pair.gb.check() == job.FAILED
    assert "ONLY_HERE" in pair.gb.told()
    assert pair.b.names("divergent") == []
    for number in range(3):  # it is no divergence, however long it lasts
        pair.a.put("workspace/MEMORY.md", f"{NEW_NOTES}- {number}\n")
        pair.sync()
    assert pair.b.names("divergent") == []
    pair.gb.configure(environment=["HOME", "BOT", "ONLY_HERE"])
    assert "config" not in pair.sync()
    assert pair.gb.read() == pair.ga.read()
    assert pair.gb.check() == job.DONE


@needs_rsync
def test_openclaw_on_the_standby_is_asked_before_its_start_depends_on_it(pair: GuardedPair) -> None:
    pair.ga.executable.write_text("#!/bin/sh\necho '{\"valid\": true}'\n")  # a newer one, that knows more keys
    pair.ga.write(text(unknown=1))
    own = pair.gb.read()
    assert "Unrecognized key" in pair.sync()
    assert pair.gb.read() == own
    asked = pair.gb.asked()
    pair.b.serve(term=2)
    assert pair.gb.read() == own
    assert pair.gb.asked() == asked, "a start does not wait for it"


@needs_rsync
def test_losses_that_were_meant_on_one_node_are_taken_on_the_other(pair: GuardedPair) -> None:
    pair.sync()
    pair.ga.write(json.dumps({"gateway": {"mode": "local"}}))
    assert "withheld" in pair.sync()
    pair.ga.check("--accept-losses")
    assert "config" not in pair.sync()
    assert pair.gb.read() == pair.ga.read()
    assert pair.gb.check() == job.DONE


@needs_rsync
def test_a_bad_one_on_the_standby_is_mended_by_the_next_sync(pair: GuardedPair) -> None:
    pair.sync()
    pair.gb.write("{")
    assert pair.gb.check() == job.FAILED
    pair.sync()
    assert pair.gb.read() == pair.ga.read()
    assert [(pair.gb.root / "replaced" / name).read_text() for name in pair.gb.versions("replaced")] == ["{"]
    assert pair.b.names("divergent") == []
    assert pair.gb.check() == job.DONE


@needs_rsync
def test_one_that_changes_while_it_is_copied_is_not_exported(pair: GuardedPair, tmp_path: Path) -> None:
    """Between the gate and the copy."""
    hook = tmp_path / "sitecustomize.py"
    hook.write_text(
        "import pathlib, dualjoe_jobs.memory_gates as gates\n"
        "real = gates.leaving\n"
        "def leaving(memory):\n"
        "    passed = real(memory)\n"
        f"    pathlib.Path({str(pair.ga.live)!r}).write_text({text('placeholder-kept')!r})\n"
        "    return passed\n"
        "gates.leaving = leaving\n"
    )
    pair.connect(before=f"export PYTHONPATH={tmp_path}:$PYTHONPATH")
    assert pair.b.sync() == job.FAILED
    assert "changed while the memory was copied" in pair.b.result()["message"]
    hook.unlink()
    assert "withheld by the source: config" in pair.sync()
    assert pair.gb.read() == text()


@needs_rsync
def test_a_gate_that_cannot_judge_holds_up_nothing_else(pair: GuardedPair) -> None:
    pair.sync()
    for guarded in (pair.ga, pair.gb):
        guarded.settings.unlink()
    pair.a.put("workspace/MEMORY.md", NEW_NOTES)
    assert "run site.yml again" in pair.sync()
    assert pair.b.has("workspace/MEMORY.md") == NEW_NOTES


@needs_rsync
def test_an_unknown_gate_is_a_clear_message(pair: GuardedPair) -> None:
    pair.b.configure(sets=[{**SET, "path": str(pair.b.state), "checked": "everything"}])
    assert pair.b.sync() == job.FAILED
    assert "there is only 'config'" in pair.b.result()["message"]


# ---- the role


def test_the_environment_is_what_role_openclaw_gives_the_gateway() -> None:
    variables = (ROOT / "roles/openclaw/vars/main.yml").read_text(encoding="utf-8")
    given = yaml.safe_load(variables)["_openclaw_environment_file"]
    for name in ("OPENCLAW_GATEWAY_TOKEN", "TELEGRAM_BOT_TOKEN"):
        assert f"'{name}'" in given
        assert f"'{name}'" in DEFAULTS["config_guard_environment"]
    assert given.count("'") == 4, "a variable was added that config_guard_environment does not know"


# ---- "Both PCs are gone" in docs/operations.md


@needs_rsync
def test_both_pcs_are_gone_and_a_generation_brings_all_of_joe_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """His configuration, and the user's own sets as well."""

    def pair_of(place: Path) -> GuardedPair:
        place.mkdir()
        monkeypatch.setenv("PATH", f"{place / 'bin'}:{os.environ['PATH']}")
        made = GuardedPair(place)
        for node in (made.a, made.b):
            notes = node.root.with_name("notes")
            notes.mkdir()
            node.configure(sets=[*node.raw["sets"], {"name": "notes", "path": str(notes), "include": ["**"]}])
        return made

    old = pair_of(tmp_path / "old")
    set_by_joe = text(session={"idle": 7})
    old.ga.write(set_by_joe)
    (old.a.root.with_name("notes") / "geese.md").write_text("eleven\n")
    old.sync()
    (name,) = old.b.names()
    saved = tmp_path / "memory.tar"
    subprocess.run(["tar", "--create", "--file", saved, "--directory", f"{old.b.current}/", "."], check=True)

    new = pair_of(tmp_path / "new")
    new.a.serve(term=7)
    new.a.put("workspace/MEMORY.md", "# Joe knows nothing\n")
    new.sync()
    generation, version = new.a.root / "generations" / name, new.ga.root / "good" / name
    generation.mkdir(parents=True)
    subprocess.run(["tar", "--extract", "--file", saved, "--directory", generation], check=True)
    shutil.copy(generation / "config/openclaw.json", version)
    assert new.ga.roll_back(name) == job.DONE
    assert memory_restore.main([name], new.a.settings, new.a.root, new.a.probe) == 0
    new.a.serve(term=8)
    assert new.a.has("workspace/MEMORY.md") == NOTES
    new.sync()
    for node, guarded in ((new.a, new.ga), (new.b, new.gb)):
        assert guarded.read() == set_by_joe
        assert (node.root.with_name("notes") / "geese.md").read_text() == "eleven\n"
        assert sorted(node.live()) == ["openclaw.json", "workspace/MEMORY.md"], "and nothing beside"
