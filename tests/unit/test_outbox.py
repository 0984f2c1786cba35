"""Alerts over a real store and real HTTP: durable, in order, and no flood after an outage."""

from __future__ import annotations

import asyncio
import http.server
import json
import socket
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from dualjoe import notices, telegram
from dualjoe.notices import BEGUN, LASTS, OVER, Notice, Quiet, Rules, Waiting
from dualjoe.telegram import NotSent
from dualjoe_watchdog import outbox as outboxes
from dualjoe_watchdog.channels import Channel
from dualjoe_watchdog.outbox import Outbox
from dualjoe_watchdog.store import BadStore, Store
from watchdog_pair import TOKEN, BotApi, until

FIRE, RAIN = Notice("fire", urgent=True), Notice("rain")
AT_ONCE = Rules(group_seconds=0, per_minute=60)

V1 = """
CREATE TABLE record (id INTEGER PRIMARY KEY CHECK (id = 1), body TEXT NOT NULL, changed_at TEXT NOT NULL);
CREATE TABLE events (
  number INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, kind TEXT NOT NULL, node TEXT, epoch INTEGER,
  reason TEXT NOT NULL, data TEXT NOT NULL);
CREATE TABLE outbox (
  number INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, text TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
  sent_at TEXT);
INSERT INTO record VALUES (1, '{"epoch": 7, "holder": "pc-a"}', '2026-11-26T10:00:00.000Z');
INSERT INTO events VALUES (1, '2026-11-26T10:00:00.000Z', 'grant', 'pc-a', 7, 'because', '{}');
INSERT INTO outbox VALUES (1, '2026-11-26T10:00:00.000Z', '[joe] old', 1, '2026-11-26T10:00:01.000Z');
INSERT INTO outbox VALUES (2, '2026-11-26T10:00:02.000Z', '[joe] waits', 3, NULL);
INSERT INTO outbox VALUES (3, '2026-11-26T10:00:03.000Z', '[joe] waits too', 0, NULL);
PRAGMA user_version = 1;
"""


class Wire:
    """A channel that a test cuts."""

    def __init__(self, name: str = "telegram") -> None:
        self.name = self.key = name
        self.texts: list[str] = []
        self.refusal: NotSent | None = None
        self.tries = 0
        self.hang: asyncio.Event | None = None  # not taken before

    async def send(self, text: str) -> None:
        self.tries += 1
        if self.refusal:
            raise self.refusal
        self.texts.append(text)
        if self.hang is not None:
            await self.hang.wait()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outboxes, "FIRST_RETRY_SECONDS", 0.02)


@asynccontextmanager
async def running(path: Path, *channels: Channel, rules: Rules = AT_ONCE, **more: Any) -> AsyncIterator[Outbox]:
    """An outbox of a watchdog, until it is killed."""
    store = Store(path / "witness.sqlite")
    box = Outbox(channels, store, "joe", rules, **more)
    task = asyncio.create_task(box.run())
    try:
        yield box
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        store.close()


async def test_after_an_outage_all_is_told_in_order_by_one_message(tmp_path: Path) -> None:
    wire = Wire()
    wire.refusal = NotSent("URLError")
    told = [FIRE, Notice("a begins.", key="a", phase=BEGUN), RAIN, Notice("Still so: b", key="b", phase=LASTS)]
    told += [Notice("Over: a.", key="a", phase=OVER), Notice("last")]
    async with running(tmp_path, wire) as box:
        for notice in told[:3]:
            box.put(notice)
        await until(lambda: wire.tries > 2)
        assert box.waiting == 3
    async with running(tmp_path, wire) as box:  # the watchdog was restarted meanwhile
        for notice in told[3:]:
            box.put(notice)
        await until(lambda: wire.tries > 4)
        wire.refusal = None
        await until(lambda: box.waiting == 0)
    (text,) = wire.texts
    assert text.startswith("[joe] 5 notices, 1 of them urgent (!):\n")
    places = [text.index(part) for part in ("fire", "a begins. Over: a.", "rain", "Still so: b", "last")]
    assert places == sorted(places)


async def test_one_channel_that_is_down_holds_up_no_other_and_misses_nothing(tmp_path: Path) -> None:
    good, bad = Wire("telegram"), Wire("mailto-1")
    bad.refusal = NotSent("it ended with 1")
    async with running(tmp_path, good, bad) as box:
        for number in range(3):
            assert await box.missing(box.put(Notice(f"n{number}")), 0.3) == ["mailto-1"]
        assert good.texts == ["[joe] n0", "[joe] n1", "[joe] n2"]
        bad.refusal = None
        await until(lambda: box.waiting == 0)
    assert len(bad.texts) == 1
    assert all(f"n{number}" in bad.texts[0] for number in range(3))


async def test_killed_between_sending_and_writing_it_down_an_alert_is_sent_twice_at_the_most(tmp_path: Path) -> None:
    wire = Wire()
    wire.hang = asyncio.Event()
    async with running(tmp_path, wire) as box:
        box.put(FIRE)
        await until(lambda: wire.texts == ["[joe] fire"])
    wire.hang = None
    async with running(tmp_path, wire) as box:
        await until(lambda: box.waiting == 0)
    assert wire.texts == ["[joe] fire", "[joe] fire"]
    async with running(tmp_path, wire) as box:
        box.put(RAIN)
        await until(lambda: box.waiting == 0)
    assert wire.texts[2:] == ["[joe] rain"]


async def test_killed_at_any_moment_none_is_lost_and_the_order_is_kept(tmp_path: Path) -> None:
    wire = Wire()
    for number in range(12):
        async with running(tmp_path, wire) as box:
            box.put(Notice(f"<{number}>"))
            wire.refusal = NotSent("URLError") if number % 3 else None
            for _ in range(number):
                await asyncio.sleep(0)
    wire.refusal = None
    async with running(tmp_path, wire) as box:
        await until(lambda: box.waiting == 0)
    whole = "\n".join(wire.texts)
    places = [whole.index(f"<{number}>") for number in range(12)]
    assert places == sorted(places)
    assert all(whole.count(f"<{number}>") <= 2 for number in range(12))


def refused(times: int, pause: float = 0.0) -> outboxes._Queue:
    """A channel that has refused alert 1 so often, the last time at 100 s."""
    queue = outboxes._Queue(Wire(), 0)
    for _ in range(times):
        queue.refused(NotSent("URLError", pause), 100, 1)
    return queue


def waits(queue: outboxes._Queue, *told: Notice) -> float:
    """Seconds until it is tried again, at 100 s."""
    waiting = [Waiting(number, notice, 0, 0) for number, notice in enumerate(told, 1)]
    return queue.wait(waiting, AT_ONCE, 100, 1.7e9)


def test_a_channel_that_is_down_is_tried_less_often_and_at_least_each_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outboxes, "FIRST_RETRY_SECONDS", 2.0)
    assert [waits(refused(times), FIRE) for times in range(8)] == [0, 2, 4, 8, 16, 32, 60, 60]
    assert waits(refused(1000), RAIN, RAIN) == 60


def test_a_new_urgent_alert_is_tried_at_once_also_when_earlier_ones_were_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outboxes, "FIRST_RETRY_SECONDS", 2.0)
    assert waits(refused(9), RAIN, FIRE) == 2
    assert waits(refused(9), FIRE, RAIN) == 60


async def test_a_channel_that_takes_nothing_for_long_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good, bad = Wire("telegram"), Wire("apprise 1 (mailto)")
    bad.refusal = NotSent("the service did not take it")
    async with running(tmp_path, good, bad) as box:
        box.put(RAIN)
        await until(lambda: bad.tries > 1)
        assert box.down() == {}
        assert box.refused == 1
        monkeypatch.setattr(outboxes, "DOWN_SECONDS", 0.0)
        assert box.down() == {"apprise 1 (mailto)": "the service did not take it"}
        bad.refusal = None
        await until(lambda: box.waiting == 0)
        assert (box.down(), box.refused) == ({}, 0)


def test_a_channel_that_asks_for_a_pause_gets_it() -> None:
    assert waits(refused(1, 500), RAIN, FIRE) == 500


async def test_in_quiet_hours_what_can_wait_waits_and_goes_along_with_what_is_urgent(tmp_path: Path) -> None:
    wire, night = Wire(), Rules(group_seconds=0, quiet=Quiet(0, 1439))
    async with running(tmp_path, wire, rules=night, wall=lambda: 1.7e9) as box:
        rain = box.put(RAIN)
        assert await box.missing(rain, 0.1) == ["telegram"]
        assert await box.missing(box.put(FIRE), 5) == []
        await until(lambda: box.waiting == 0)
        late = box.put(Notice("snow"))
        assert await box.missing(late, 0.1) == ["telegram"]
    (text,) = wire.texts
    assert text.index("rain") < text.index("fire")


async def test_the_rate_holds_in_a_storm_and_nothing_of_it_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "MINUTE_SECONDS", 3600.0)  # however slow this computer is
    wire = Wire()
    async with running(tmp_path, wire, rules=Rules(group_seconds=0, per_minute=4)) as box:
        for number in range(20):
            box.put(Notice(f"<{number}>", urgent=True))
            await asyncio.sleep(0.005)
        await until(lambda: len(wire.texts) == 4)
        await asyncio.sleep(0.05)
        assert len(wire.texts) == 4
        waiting = box.waiting
    told = sum("\n".join(wire.texts).count(f"<{number}>") for number in range(20))
    assert told + waiting == 20


async def test_a_new_channel_gets_what_comes_and_not_what_was(tmp_path: Path) -> None:
    one, two = Wire("telegram"), Wire("json-2")
    async with running(tmp_path, one) as box:
        assert await box.missing(box.put(RAIN), 5) == []
    async with running(tmp_path, two, one) as box:
        assert await box.missing(box.put(FIRE), 5) == []
    assert (one.texts, two.texts) == (["[joe] rain", "[joe] fire"], ["[joe] fire"])
    async with running(tmp_path, one) as box:
        assert await box.missing(box.put(Notice("snow")), 5) == []
    async with running(tmp_path, one, two) as box:
        assert await box.missing(box.put(Notice("sun")), 5) == []
    assert two.texts[1:] == ["[joe] sun"]


async def test_after_a_full_disk_no_number_is_given_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A channel takes for sent what is not newer than the last one that it took."""

    def full(*_what: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    wire = Wire()
    async with running(tmp_path, wire) as box:
        monkeypatch.setattr(box._store, "add_alert", full)
        box.put(FIRE)
        await until(lambda: box.waiting == 0)
    async with running(tmp_path, wire) as box:
        box.put(RAIN)
        await until(lambda: box.waiting == 0)
    assert wire.texts == ["[joe] fire", "[joe] rain"]


async def test_without_a_channel_alerts_are_only_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with running(tmp_path) as box:
        assert await box.missing(box.put(FIRE), 5) == []
        assert box.waiting == 0
    assert "fire" in caplog.text


# Telegram's words


@pytest.fixture
def bot() -> Iterator[BotApi]:
    api = BotApi()
    yield api
    api.close()


@pytest.mark.parametrize(
    ("status", "body", "said", "pause"),
    [
        (429, {"description": "Too Many Requests", "parameters": {"retry_after": 7}}, "429: Too Many Requests", 7),
        (403, {"description": "Forbidden: bot was blocked by the user"}, "403: Forbidden: bot was blocked", 0),
        (500, None, "the Bot API answered 500", 0),
        (429, {"parameters": {"retry_after": "soon"}}, "429", 0),
        (429, {"parameters": {"retry_after": 1e9}}, "429", 3600),
        (400, [], "400", 0),
    ],
)
def test_why_telegram_refuses_is_told_without_the_token(
    tmp_path: Path, status: int, body: object, said: str, pause: float
) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            answer = b"oh" if body is None else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (tmp_path / "token").write_text(TOKEN)
    chat = telegram.Chat(f"http://127.0.0.1:{server.server_port}", tmp_path / "token", "1")
    with pytest.raises(NotSent, match=said) as caught:
        telegram.send(chat, "fire")
    server.shutdown()
    server.server_close()
    assert caught.value.retry_after == pause
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx",
        b"HTTP/1.1 500 Oh\r\nContent-Length: 900\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b'HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{"ok": null}',
        b"HTTP/1.1 200 OK\r\nContent-Length: 65000\r\n\r\n" + b"[" * 65000,
        b'HTTP/1.1 429 Oh\r\n\r\n{"parameters": {"retry_after": 1' + b"0" * 400 + b"}}",
    ],
    ids=lambda answer: answer[:60],
)
def test_whatever_answers_in_telegram_s_place_it_is_only_not_sent(tmp_path: Path, answer: bytes) -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def once() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(answer)

    server = threading.Thread(target=once, daemon=True)
    server.start()
    (tmp_path / "token").write_text(TOKEN)
    with pytest.raises(NotSent) as caught:
        telegram.send(telegram.Chat(f"http://127.0.0.1:{listener.getsockname()[1]}", tmp_path / "token", "1"), "fire")
    server.join(10)
    listener.close()
    assert TOKEN not in str(caught.value)


def test_an_answer_that_never_ends_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telegram, "TIMEOUT_SECONDS", 1.0)
    listener = socket.create_server(("127.0.0.1", 0))
    gone = threading.Event()

    def drip() -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while not gone.wait(0.02):
                connection.sendall(b"x")
        gone.set()

    threading.Thread(target=drip, daemon=True).start()
    (tmp_path / "token").write_text(TOKEN)
    with pytest.raises(NotSent, match="it did not end within 1 s"):
        telegram.send(telegram.Chat(f"http://127.0.0.1:{listener.getsockname()[1]}", tmp_path / "token", "1"), "fire")
    listener.close()
    assert gone.wait(10), "the process that sends it is gone as well"


# The store


async def test_a_store_of_the_first_version_goes_on(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "witness.sqlite")
    database.executescript(V1)
    database.close()
    wire = Wire()
    async with running(tmp_path, wire) as box:
        await until(lambda: box.waiting == 0)
    (text,) = wire.texts
    assert text.startswith("[joe] 2 notices")
    assert "old" not in text
    assert text.index("waits") < text.index("waits too")
    store = Store(tmp_path / "witness.sqlite")
    assert (store.record().epoch, store.events(9)[0]["kind"]) == (7, "grant")
    store.close()


def test_of_old_alerts_that_all_channels_have_only_the_last_of_each_key_stays(tmp_path: Path) -> None:
    store = Store(tmp_path / "witness.sqlite")
    store.keep_channels(["one", "two"])
    now = time.time()
    for number, days in enumerate((90, 80, 70, 60, 50, 40, 1), 1):
        store.add_alert(number, Notice("x", key="digest" if number in (1, 2) else "a"), now - days * 86400)
    store.alerts_taken("one", 7)
    assert len(store.alerts(0)) == 7, "the other channel has none of them"
    store.alerts_taken("two", 5)
    assert [number for number, _, _ in store.alerts(0)] == [2, 6, 7]
    assert store.last_told("digest") is not None
    store.close()


@pytest.mark.parametrize("version", [0, 99])
def test_a_store_that_this_watchdog_does_not_know_is_left_as_it_is(tmp_path: Path, version: int) -> None:
    path = tmp_path / "witness.sqlite"
    database = sqlite3.connect(path)
    database.executescript(V1 + f"PRAGMA user_version = {version};")
    database.close()
    before = path.read_bytes()
    with pytest.raises(BadStore, match="schema version"):
        Store(path)
    assert path.read_bytes() == before
