"""The command `dualjoe` on T440, over a watchdog's real socket or over one that answers as the test says."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from click.shell_completion import BashComplete
from dualjoe import control, overview
from dualjoe_watchdog import cli, coordinator, screen
from dualjoe_watchdog.store import Store
from rich.console import Console
from test_overview import status
from watchdog_pair import BotApi, Pair, until

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
async def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pair]:
    monkeypatch.setattr(coordinator, "STEP_SECONDS", 0.05)
    real, path = control.ask, str(tmp_path / "watchdog.sock")
    monkeypatch.setattr(control, "ask", lambda command, **more: real(command, path=path, **more))
    bot = BotApi()
    made = Pair(tmp_path, bot)
    for name in made.guards:
        await made.switch_on(name)
    yield made
    await made.close()
    bot.close()


class Watchdog:
    """Answers as a test says, and keeps what it was asked."""

    def __init__(self) -> None:
        self.status: dict[str, Any] | None = status()
        self.asked: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []

    def ask(self, command: str, *, on_event: Any = None, **fields: Any) -> dict[str, Any]:
        self.asked.append({"command": command, **fields})
        if self.status is None:
            message = "the watchdog does not answer at /run/x (gone); look at 'journalctl -u dualjoe-watchdog'"
            raise control.ControlError(message)
        for event in self.events if command == "timeline" else ():
            on_event(event)
        return {
            "v": 1,
            "ok": True,
            "changed": True,
            "message": "done so",
            **(self.status if command == "status" else {}),
        }


@pytest.fixture
def watchdog(monkeypatch: pytest.MonkeyPatch) -> Watchdog:
    made = Watchdog()
    monkeypatch.setattr(control, "ask", made.ask)
    return made


async def test_the_command_shows_and_moves_the_pair(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    async def dualjoe(*words: str) -> int:
        return await asyncio.to_thread(cli.main, list(words))

    async with pair.watched() as watchdog:
        await until(lambda: watchdog.decision.situation == "home" and watchdog.sightings["pc-b"].heard)
        assert await dualjoe("status") == cli.DONE
        assert "Joe runs on pc-a since" in capsys.readouterr().out
        assert await dualjoe("status", "--check") == 0
        assert capsys.readouterr().out.startswith("OK - joe: Joe runs on pc-a")
        assert await dualjoe("switchover", "--dry-run", "--json") == cli.DONE
        assert json.loads(capsys.readouterr().out)["node"] == "pc-b"
        assert await dualjoe("timeline") == cli.DONE
        assert "grant" in capsys.readouterr().out
        assert await dualjoe("pause", "--for", "2h", "--dry-run") == cli.DONE
        assert "paused for 7200 s" in capsys.readouterr().out
        assert await dualjoe("resume") == cli.DONE
        assert "there is no pause" in capsys.readouterr().out
        assert await dualjoe("declare-off", "pc-a") == cli.NOT_DONE
        assert "pc-a answers" in capsys.readouterr().err
        assert await dualjoe("switchover", "--to", "nowhere") == cli.NOT_DONE
        assert "'to' must be one of" in capsys.readouterr().err
        assert await dualjoe("switchover", "--to", "nowhere", "--json") == cli.NOT_DONE
        assert json.loads(capsys.readouterr().out)["error"] == "bad_request"
        assert await dualjoe("alert-test") == cli.DONE
        assert "taken by: telegram" in capsys.readouterr().out


async def test_the_timeline_is_filtered(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    async def shown(*words: str) -> list[dict[str, Any]]:
        assert await asyncio.to_thread(cli.main, ["timeline", "--json", *words]) == cli.DONE
        return list(json.loads(capsys.readouterr().out)["events"])

    async with pair.watched() as watchdog:
        await until(lambda: watchdog.decision.situation == "home")
        watchdog.store.add_event("requested", "ada asks", None, 1, {})
        watchdog.store.add_event("silent", "pc-b does not answer", "pc-b", 1, {})
        watchdog.store._db.execute("UPDATE events SET at = '2020-01-01T00:00:00.000Z' WHERE kind = 'grant'")
        assert [event["kind"] for event in await shown("--node", "pc-b")] == ["silent"]
        assert [event["kind"] for event in await shown("--kind", "requested", "--kind", "silent")] == [
            "requested",
            "silent",
        ]
        kinds = [event["kind"] for event in await shown("--since", "1h")]
        assert "grant" not in kinds
        assert "requested" in kinds
        assert len(await shown("--since", "2019-12-31T00:00+01:00")) == len(kinds) + 1
        assert len(await shown("--limit", "1")) == 1
        assert await asyncio.to_thread(cli.main, ["timeline", "--node", "pc-x"]) == cli.NOT_DONE
        assert "node must be one of: pc-a, pc-b" in capsys.readouterr().err
        assert await asyncio.to_thread(cli.main, ["timeline", "--limit", "0"]) == cli.NOT_DONE
        assert "from 1 to 1000" in capsys.readouterr().err


async def test_observing_holds_over_a_restart_until_it_is_switched_or_the_setting_changes(pair: Pair) -> None:
    async def observe(word: str) -> int:
        return await asyncio.to_thread(cli.main, ["observe", word])

    async with pair.watched() as watchdog:
        await until(lambda: watchdog.decision.situation == "home")
        assert await asyncio.to_thread(cli.main, ["observe", "on", "--dry-run"]) == cli.DONE
        assert watchdog.mode == "act"
        assert await observe("on") == cli.DONE
        assert watchdog.status()["mode"] == "observe"
        assert "only observe" in watchdog.store.events(1, kinds=["requested"])[0]["reason"]
        assert "observing" in watchdog.status()["standing"], "it is told of, and again now and then"
    async with pair.watched() as watchdog:
        await until(lambda: watchdog.decision.situation == "home")
        await pair.switch_off("pc-a")
        await until(lambda: watchdog.decision.situation == "observing")
        await asyncio.sleep(watchdog.policy.timing.quiet_seconds)
        assert pair.guards["pc-b"].terms == [], "nobody is moved"
        assert await observe("off") == cli.DONE
        assert "observing" not in watchdog.status()["standing"]
        await until(lambda: pair.guards["pc-b"].active)
    assert not pair.two_at_once()
    store = Store(pair.folder / "witness.sqlite")
    store.save_mode("observe", "act")
    said = [store.mode(setting) for setting in ("act", "observe", "act")]
    assert said == ["observe", "observe", "act"], "a setting that was changed counts from then on"
    store.close()


async def test_a_mode_that_cannot_be_stored_is_not_taken(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with pair.watched() as watchdog:
        watchdog.store._db.execute("DROP TABLE mode")
        assert await asyncio.to_thread(cli.main, ["observe", "on"]) == cli.NOT_DONE
        assert "cannot be stored" in capsys.readouterr().err
        assert watchdog.mode == "act"


@pytest.mark.parametrize(
    ("told", "code", "line"),
    [
        ({}, 0, "OK - joe: Joe runs on pc-a since"),
        ({"alerts_waiting": 1}, 1, "WARNING - joe: 1 alert(s)"),
        ({"standing": {"service": "Joe is not served."}}, 2, "CRITICAL - joe: Joe is not served."),
    ],
)
def test_monitoring_gets_its_exit_code_and_one_line_first(
    watchdog: Watchdog, capsys: pytest.CaptureFixture[str], told: dict[str, Any], code: int, line: str
) -> None:
    watchdog.status = status(**told)
    assert cli.main(["status", "--check"]) == code
    assert capsys.readouterr().out.startswith(line)
    assert cli.main(["status", "--check", "--json"]) == code
    shown = json.loads(capsys.readouterr().out)
    assert (shown["holder"], shown["level"]) == ("pc-a", ["ok", "warning", "critical"][code])
    assert [found["level"] for found in shown["findings"]] == [shown["level"]][: min(code, 1)]
    assert cli.main(["status"]) == cli.DONE, "a person who looks has been shown what there is"


def test_a_watchdog_that_is_down_is_unknown_to_monitoring_and_named_to_people(
    watchdog: Watchdog, capsys: pytest.CaptureFixture[str]
) -> None:
    watchdog.status = None
    assert cli.main(["status", "--check"]) == 3
    assert capsys.readouterr().out.startswith("UNKNOWN - the watchdog does not answer")
    assert cli.main(["status"]) == cli.NOT_DONE
    said = capsys.readouterr().err
    assert "journalctl -u dualjoe-watchdog" in said
    assert cli.main(["failback"]) == cli.NOT_DONE


@pytest.mark.parametrize("said", ["", "h", "-1h", "1.5h", "2 weeks", "0", "9999d"])
def test_a_pause_takes_only_a_real_length(said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["pause", f"--for={said}"]) == cli.BAD_USAGE
    assert "--for" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["no-such-command"],
        ["status", "--no-such-option"],
        ["declare-off"],
        ["timeline", "--since", "yesterday"],
        ["timeline", "--since", "9999-12-31T23:59:59-12:00"],
        ["timeline", "--limit", "many"],
        ["observe", "maybe"],
    ],
)
def test_bad_usage_is_said_and_ends_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == cli.BAD_USAGE
    assert "Error: " in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--help"], *([name, "--help"] for name in cli.dualjoe.commands)])
def test_every_command_explains_itself(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == cli.DONE
    assert "Usage: dualjoe" in capsys.readouterr().out


def test_who_asks_is_who_typed_sudo(watchdog: Watchdog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "ada")
    assert cli.main(["pause", "--reason", "new switch"]) == cli.DONE
    asked = watchdog.asked[-1]
    assert (asked["command"], asked["by"], asked["seconds"], asked["reason"]) == ("pause", "ada", 3600, "new switch")


def test_a_timeline_is_followed_from_the_last_event(
    watchdog: Watchdog, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    event = {"at": "2026-11-24T06:00:00Z", "kind": "silent", "node": "pc-b", "reason": "gone", "number": 41, "data": {}}
    watchdog.events = [event]

    def wait(_seconds: float) -> None:
        if len(watchdog.asked) == 1:
            watchdog.events = [{**event, "number": 42, "kind": "heard_again"}]
        elif len(watchdog.asked) == 2:
            watchdog.events = []
            watchdog.status = None  # the watchdog is started anew
        elif len(watchdog.asked) == 4:
            raise KeyboardInterrupt
        else:
            watchdog.status = status()

    monkeypatch.setattr(time, "sleep", wait)
    assert cli.main(["timeline", "--follow", "--json", "--node", "pc-b"]) == cli.NOT_DONE
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["kind"] for each in shown] == ["silent", "heard_again"]
    assert [asked.get("after") for asked in watchdog.asked] == [None, 41, 42, 42]


def test_a_terminal_shows_the_three_side_by_side_and_the_command_for_what_is_wrong() -> None:
    told = status(standing={"lost pc-b": "pc-b does not answer T440."})
    paper = io.StringIO()
    event = {"at": "2026-11-24T06:00:00Z", "kind": "silent", "node": "pc-b", "reason": "gone"}
    Console(file=paper, width=100).print(screen.of_watch(overview.of(told), [event]))
    text = paper.getvalue()
    assert " WARNING " in text.splitlines()[0]
    (heads,) = [line for line in text.splitlines() if "pc-a (primary)" in line]
    assert "T440 (witness)" in heads
    assert "switch pc-b on" in text
    assert text.rstrip().endswith("gone")
    assert max(map(len, text.splitlines())) <= 100


def test_watch_asks_for_a_terminal(watchdog: Watchdog, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["watch"]) == cli.NOT_DONE
    assert "timeline --follow" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "offered"),
    [("dualjoe sw", "switchover"), ("dualjoe declare-off pc", "pc-b"), ("dualjoe pause --re", "--reason")],
)
def test_bash_completes_commands_options_and_nodes(
    watchdog: Watchdog, monkeypatch: pytest.MonkeyPatch, words: str, offered: str
) -> None:
    complete = BashComplete(cli.dualjoe, {}, "dualjoe", "_DUALJOE_COMPLETE")
    *before, last = words.split()[1:]
    assert offered in [item.value for item in complete.get_completions(before, last)]


def test_the_completion_that_the_role_installs_is_that_of_this_click() -> None:
    shipped = (ROOT / "roles/watchdog/files/completion/dualjoe").read_text("utf-8")
    assert shipped.strip() == BashComplete(cli.dualjoe, {}, "dualjoe", "_DUALJOE_COMPLETE").source().strip()


def test_a_command_without_its_environment_says_so_in_one_line(tmp_path: Path) -> None:
    text = (ROOT / "roles/watchdog/files/bin/dualjoe").read_text("utf-8")
    command = tmp_path / "dualjoe"
    command.write_text(
        text.replace("/opt/dualjoe/watchdog", f"{tmp_path}/venv").replace("/usr/local/lib", str(tmp_path))
    )
    done = subprocess.run(
        [sys.executable, "-I", str(command), "status"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"]},
    )
    assert done.returncode == cli.NOT_DONE
    (line,) = done.stderr.splitlines()
    assert f"{tmp_path}/venv is not whole" in line
    assert "site.yml" in line
