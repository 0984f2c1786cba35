"""Further channels by Apprise, over real HTTP and a real process each; their URLs are secrets."""

from __future__ import annotations

import asyncio
import http.server
import json
import logging
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from dualjoe import alerts, notices
from dualjoe.notices import Notice, Rules
from dualjoe.telegram import NotSent
from dualjoe_watchdog import channels
from dualjoe_watchdog.__main__ import main
from dualjoe_watchdog.channels import Apprise
from dualjoe_watchdog.outbox import Outbox
from dualjoe_watchdog.settings import BadSettings, load
from dualjoe_watchdog.store import Store
from test_outbox import running
from watchdog_pair import until

Captured = pytest.CaptureFixture[str]
SECRET = "hunter2"
GOOD = {
    "pair": "joe",
    "primary": {"name": "pc-a", "address": "192.0.2.11"},
    "standby": {"name": "pc-b", "address": "192.0.2.12"},
}


class Hook:
    """A service that Apprise posts JSON to; ``broken`` makes it refuse."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.tries = 0
        self.broken = False
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                hook.tries += 1
                if not hook.broken:
                    hook.texts.append(body["message"])
                self.send_response(500 if hook.broken else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"json://ada:{SECRET}@127.0.0.1:{self._server.server_port}/{SECRET}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    yield made
    made.close()


async def test_an_alert_arrives_whole(hook: Hook) -> None:
    text = "[joe] Failover: <b> & 'quotes' \u2026\nsecond line\n" + "x" * (notices.LIMIT - 60)
    await Apprise(hook.url, 2).send(text)
    assert "".join(hook.texts) == text


async def test_what_goes_wrong_is_told_by_place_and_kind_and_never_by_the_url(
    hook: Hook, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    hook.broken = True
    store = Store(tmp_path / "witness.sqlite")
    box = Outbox([Apprise(hook.url, 2)], store, "joe", Rules(group_seconds=0))
    box.put(Notice("fire", urgent=True))
    task = asyncio.create_task(box.run())
    await until(lambda: "not sent" in caplog.text, 60)
    task.cancel()
    store.close()
    assert "channel=apprise 2 (json) alert=1 not sent, and tried again: the service did not take it" in caplog.text
    assert SECRET not in caplog.text
    assert SECRET.encode() not in (tmp_path / "witness.sqlite").read_bytes()


async def test_the_url_is_in_no_process_list(hook: Hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spy = tmp_path / "spy"
    spy.write_text(f'#!/bin/sh\n(echo "$@"; env) > {tmp_path}/seen\nexec {sys.executable} "$@"\n')
    spy.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(spy))
    await Apprise(hook.url, 1).send("fire")
    assert hook.texts == ["fire"]
    assert SECRET not in (tmp_path / "seen").read_text()


async def test_a_service_that_hangs_is_given_up_and_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hung = tmp_path / "hung"
    hung.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 600\n")
    hung.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(hung))
    monkeypatch.setattr(channels, "APPRISE_SECONDS", 0.5)
    with pytest.raises(NotSent, match=r"it did not end within 0\.5 s"):
        await Apprise("json://127.0.0.1/", 1).send("fire")
    if (tmp_path / "pid").exists():  # it had come so far
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / "pid").read_text()), 0)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "missing"))
    with pytest.raises(NotSent, match="Apprise cannot be run: No such file"):
        await Apprise("json://127.0.0.1/", 1).send("fire")


async def test_telegram_gets_what_the_others_do_not_take_and_they_get_it_later(hook: Hook, tmp_path: Path) -> None:
    hook.broken = True
    async with running(tmp_path, Apprise(hook.url, 1)) as box:
        box.put(Notice("one"))
        await until(lambda: hook.tries > 0, 60)
        box.put(Notice("two"))
        hook.broken = False
        await until(lambda: box.waiting == 0, 60)
    whole = "\n".join(hook.texts)
    assert whole.index("one") < whole.index("two")


def settings(tmp_path: Path, *urls: str) -> Path:
    (tmp_path / "urls").write_text("\n".join(urls) + "\n")
    path = tmp_path / "watchdog.json"
    path.write_text(json.dumps({**GOOD, "apprise_file": str(tmp_path / "urls")}))
    return path


def test_a_channel_is_known_again_wherever_it_stands_in_the_list(tmp_path: Path) -> None:
    one, two = f"ntfys://{SECRET}", f"mailto://ada:{SECRET}@example.org"
    before, after = (load(settings(tmp_path, *urls)).channels for urls in ((one, two), (two, one)))
    assert [channel.name for channel in before] == ["apprise 1 (ntfys)", "apprise 2 (mailto)"]
    assert [channel.key for channel in after] == [channel.key for channel in reversed(before)]


@pytest.mark.parametrize(
    ("urls", "said"),
    [
        ((f"json://127.0.0.1/{SECRET}", f"geese://{SECRET}"), "apprise 2 (geese): Apprise knows no such service"),
        ((f"json://127.0.0.1/{SECRET}",) * 2, "the same URL stands there twice"),
    ],
)
def test_check_config_names_a_channel_that_cannot_be_one(
    tmp_path: Path,
    urls: tuple[str, ...],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["dualjoe-watchdog", "--check-config", "--config", str(settings(tmp_path, *urls))])
    assert main() == 1
    told = capsys.readouterr().err
    assert said in told
    assert SECRET not in told


def test_a_file_of_urls_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = settings(tmp_path)
    (tmp_path / "urls").unlink()
    with pytest.raises(BadSettings, match="apprise_file: No such file"):
        load(path)


def test_a_channel_that_is_down_is_told_of_by_the_others_and_so_is_its_end() -> None:
    found = alerts.channels_down({"apprise 2 (mailto)": "the service did not take it"})
    known, (notice,) = alerts.news({}, found, 0, 3600)
    assert notice.text.startswith("apprise 2 (mailto) takes no alerts: the service did not take it.")
    _, (over,) = alerts.news(known, {}, 10, 3600)
    assert over.text == "Over: apprise 2 (mailto) takes alerts again."
