"""A support bundle has what helps and no secret, wherever one was planted."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
from dualjoe import control, redaction
from dualjoe_watchdog import bundle, cli, facts
from test_overview import status

BOT = "7314159265:AAE-planted_token_of_no_bot_0123456789ab"
URL = "https://hc.example.org/ping/planted-dead-mans-switch"
HASH = "a password's hash"
NTFY, TOPIC = "planted-ntfy", "planted-topic"  # parts of a channel's URL
SHORT = "planted7"  # a secret that has no form; only its name tells
SECRETS = {
    "a bot's token": BOT,
    "a URL that is asked": URL,
    "what is called a password": SHORT,
    "a provider key": "sk-ant-planted-0123456789",
    "a header": "Bearer planted.header.value",
    "a password in a URL": "ada:planted-password",
    "a private key": "cGxhbnRlZC1wcml2YXRlLWtleQ",
    "a channel's password": NTFY,
    "a channel's topic": TOPIC,
    HASH: "$2y$05$plantedplantedplantedp./lantedplantedplantedplantedpl",
    "something long and random": "planted" + "0a1b2c3d4e" * 4,
}


def everything() -> str:
    """A text with all of them, as they come."""
    return (
        f"sendMessage to https://api.telegram.org/bot{BOT}/x failed; ping {URL}; password={SHORT}\n"
        f"OPENAI_API_KEY={SECRETS['a provider key']} and once more without a name: "
        f"sk-ant-planted-0123456789, {SECRETS['a header']}, sftp://{SECRETS['a password in a URL']}@host/joe\n"
        f"-----BEGIN OPENSSH PRIVATE KEY-----\n{SECRETS['a private key']}\n-----END OPENSSH PRIVATE KEY-----\n"
        f"anna:{SECRETS[HASH]} {SECRETS['something long and random']} and the words {SHORT}, {NTFY}, {TOPIC}\n"
    )


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A T440 that has all of them in each of its inputs."""
    etc, jobs, programs = tmp_path / "etc", tmp_path / "jobs", tmp_path / "bin"
    for folder in (etc, jobs, programs):
        folder.mkdir()
    (etc / "telegram.token").write_text(BOT + "\n")
    (etc / "pings.json").write_text(json.dumps({"backup": URL}))
    (etc / "watchdog.json").write_text(json.dumps({"pair": "joe", "web": {"password": SHORT}, "note": everything()}))
    (etc / "apprise.urls").write_text(f"ntfys://ada:{NTFY}@ntfy.example.org/{TOPIC}\n")
    (etc / "broken.json").write_text(everything())
    (jobs / "drill.json").write_text(json.dumps({"result": "failed", "message": everything()}))
    for name in ("journalctl", "systemctl", "df", "ip", "timedatectl", "grep", "uname", "rsync", "ssh", "docker"):
        (programs / name).write_text(f"#!/bin/sh\necho this is {name} \"$@\"\ncat <<'END'\n{everything()}END\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr(bundle, "ETC", etc)
    monkeypatch.setattr(bundle, "JOBS", jobs)
    monkeypatch.setattr(facts, "CONFIG", etc / "watchdog.json")
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    def ask(command: str, *, on_event: Any = None, **_fields: Any) -> dict[str, Any]:
        if command == "timeline":
            event = {"at": "2026-11-24T06:00:00Z", "kind": "requested", "node": None, "reason": everything()}
            on_event({**event, "data": {"token": SHORT, "secret": None, "said": everything()}})
        return {"v": 1, "ok": True, **status(reason=everything(), standing={"service": everything()})}

    monkeypatch.setattr(control, "ask", ask)
    return tmp_path


def test_a_bundle_has_what_helps_and_none_of_the_planted_secrets(
    machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = machine / "support.tar.gz"
    assert cli.main(["support-bundle", "--output", str(path)]) == cli.DONE
    assert str(path) in capsys.readouterr().out
    assert path.stat().st_mode & 0o777 == 0o600
    with tarfile.open(path) as archive:
        texts = {file.name: archive.extractfile(file).read().decode() for file in archive}  # type: ignore[union-attr]
        assert all(file.mode == 0o600 for file in archive)
    assert all(name.startswith("support/") for name in texts)
    for told in (
        "status.json",
        "timeline.txt",
        "doctor.txt",
        "settings/watchdog.json",
        "jobs/drill.json",
        "journal.txt",
    ):
        assert len(texts[f"support/{told}"]) > 20
    assert "this is journalctl" in texts["support/journal.txt"]
    assert '"pair": "joe"' in texts["support/settings/watchdog.json"]
    assert '"result": "failed"' in texts["support/jobs/drill.json"]
    for name in (name for name in texts if name.endswith(".json")):
        json.loads(texts[name])
    left = [(name, kind) for name, text in texts.items() for kind, secret in SECRETS.items() if secret in text]
    assert left == []


def test_a_bundle_overwrites_nothing(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = machine / "support.tar.gz"
    path.write_text("mine")
    assert cli.main(["support-bundle", "--output", str(path)]) == cli.NOT_DONE
    assert "--output" in capsys.readouterr().err
    assert path.read_text() == "mine"


def test_a_bundle_that_was_cut_off_is_not_left(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_command: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(bundle, "_run", interrupted)
    assert cli.main(["support-bundle", "--output", str(machine / "b.tar.gz")]) == cli.NOT_DONE
    assert not (machine / "b.tar.gz").exists()


def test_a_bundle_comes_also_when_the_watchdog_is_down(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ask(*_words: Any, **_fields: Any) -> None:
        message = "the watchdog does not answer"
        raise control.ControlError(message)

    monkeypatch.setattr(control, "ask", ask)
    assert cli.main(["support-bundle", "--output", str(machine / "b.tar.gz"), "--json"]) == cli.DONE
    assert "journal.txt" in json.loads(capsys.readouterr().out)["files"]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("/bot7314159265:AAE-planted_of_no_bot_0123456789ab/x", f"/bot{redaction.MARK}/x"),  # as long as real ones
        ("GET https://hook.example.org/x?k=planted HTTP", f"GET https://hook.example.org/x?{redaction.MARK} HTTP"),
    ],
)
def test_a_secret_that_is_not_known_is_removed_by_its_form(text: str, left: str) -> None:
    assert redaction.of_text(text) == left


@pytest.mark.parametrize(
    "harmless",
    [
        "pc-a has been silent for 35 s; see 'journalctl -u dualjoe-watchdog'",
        "/var/lib/dualjoe/memory/generations/20261124T060000Z/workspace/MEMORY.md",
        "fd0c5b1e-4a53-4c0e-8d0e-1f2a3b4c5d6e:123456789012345",
        "https://api.telegram.org/ answers",
        "2026-11-24T06:00:00.000Z",
    ],
)
def test_what_is_no_secret_stays(harmless: str) -> None:
    assert redaction.of_text(harmless) == harmless
