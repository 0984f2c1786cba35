"""The web page as it is served on T440; how it looks in a browser is tested in tests/browser."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import pwd
import re
from dataclasses import replace
from functools import partial
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from dualjoe import control
from dualjoe_web import __main__ as web
from dualjoe_web import feed, graph
from dualjoe_web.page import SECTIONS
from web_site import STATES, Witness, site


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "LOOK_SECONDS", 0.1)


class Answer:
    """What came back."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.text = response.read().decode("utf-8")

    @property
    def shown(self) -> str:
        """The words of a page."""
        return unescape(re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", self.text)))


async def get(url: str, path: str = "/", method: str = "GET", body: str | None = None, **headers: str) -> Answer:
    def ask() -> Answer:
        channel = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
        channel.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = Answer(channel.getresponse())
        channel.close()
        return answer

    return await asyncio.to_thread(ask)


async def settled(url: str) -> None:
    """The watchdog has been asked."""
    async with asyncio.timeout(10):
        while "the watchdog has not been asked yet" in (await get(url)).text:
            await asyncio.sleep(0.02)


SHOWN = {
    "healthy": [
        "Joe is at home on pc-a",
        "Joe runs on pc-a",
        "Nothing is wrong",
        "3 min old",
        "drill T440",
        "27 s left",
    ],
    "failing-over": ["Failover: Joe is moving to pc-b", "silent for", "no route to host", "grant under way"],
    "on-standby": ["Joe serves on pc-b, away from home", "pc-a does not answer T440"],
    "paused": ["Joe is at home on pc-a", "by anna (new disks)", "nobody takes over"],
    "restarted": ["T440 has just begun to look", "not heard yet", "There are no samples yet"],
    "missing": ["the watchdog on T440 does not answer", "systemctl status dualjoe-watchdog", "Unknown while"],
}


@pytest.mark.parametrize("state", STATES)
async def test_the_page_shows_the_state(tmp_path: Path, state: str) -> None:
    async with site(tmp_path, state) as (url, _):
        await settled(url)
        page = await get(url)
    assert page.status == 200
    assert [words for words in SHOWN[state] if words not in page.shown] == []


async def test_the_page_is_light_and_asks_nothing_of_others(tmp_path: Path) -> None:
    async with site(tmp_path) as (url, _):
        await settled(url)
        page = await get(url)
        parts = re.findall(r'(?:src|href)="([^"#][^"]*)"', page.text)
        assert not [part for part in parts if "//" in part]
        files = [await get(url, f"/{part}") for part in parts if part.startswith("static/")]
        assert [file.status for file in files] == [200] * 3
    assert len(page.text) + sum(len(file.text) for file in files) < 200_000
    assert "style=" not in page.text, "the policy forbids it"
    assert "<script>" not in page.text


async def test_every_answer_has_its_headers(tmp_path: Path) -> None:
    async with site(tmp_path) as (url, _):
        for path in ("/", "/api/v1/status", "/metrics", "/healthz", "/static/page.js", "/nothing"):
            answer = await get(url, path)
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            assert "unsafe" not in answer.headers["Content-Security-Policy"]
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Server"] is None


async def test_programs_are_told_what_the_watchdog_says(tmp_path: Path) -> None:
    async with site(tmp_path) as (url, witness):
        await settled(url)
        status = json.loads((await get(url, "/api/v1/status")).text)
        figures = await get(url, "/metrics")
        health = await get(url, "/healthz")
        told = await asyncio.to_thread(lambda: control.ask("status", path=str(witness.settings.socket)))
    assert {**status, "time": 0} == {**told, "time": 0}
    assert figures.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert 'dualjoe_active{node="pc-a"} 1.0' in figures.text
    assert (health.status, health.text) == (200, "ok\n")


async def test_a_dead_watchdog_is_told_to_programs_as_well(tmp_path: Path) -> None:
    async with site(tmp_path, "missing") as (url, _):
        await settled(url)
        assert [(await get(url, path)).status for path in ("/", "/healthz", "/api/v1/status", "/metrics")] == [
            200,
            503,
            503,
            200,
        ]
        assert "dualjoe_watchdog_up 0.0" in (await get(url, "/metrics")).text


HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)>'


async def test_what_others_tell_is_only_text(tmp_path: Path) -> None:
    async with site(tmp_path) as (url, witness):
        probe = dict(witness.watchdog.sightings["pc-b"].probe)
        job = {"result": HOSTILE, "finished_at": HOSTILE, "message": HOSTILE}
        probe.update(unfit=[HOSTILE], fit=False, gateway={"state": HOSTILE}, jobs={HOSTILE: job, "drill": job})
        witness.watchdog.sightings["pc-b"] = replace(witness.watchdog.sightings["pc-b"], probe=probe)
        witness.watchdog.silences["pc-b"] = HOSTILE
        witness.watchdog.decision = replace(witness.watchdog.decision, reason=HOSTILE, situation=HOSTILE)
        witness.store.add_event(HOSTILE, HOSTILE, HOSTILE, 1, {"wait_seconds": HOSTILE})
        async with asyncio.timeout(20):
            while "alert(1)" not in (page := await get(url)).text:
                await asyncio.sleep(0.02)
        sent = await events(url, 1)
    for html in (page.text, *sent[0]["sections"].values()):
        assert "<script>alert" not in html
        assert "<img" not in html
    assert page.shown.count("alert(1)") >= 8


ODD: list[Any] = [None, "x" * 5000, 7, True, [], {}, [{}], {"a": None}, 1e308]


@pytest.mark.parametrize("odd", ODD, ids=repr)
async def test_a_node_that_tells_nonsense_breaks_no_page(tmp_path: Path, odd: Any) -> None:
    witness = Witness(tmp_path)
    STATES["healthy"](witness)
    status = json.loads(json.dumps(witness.watchdog.status()))
    witness.close()
    for field in status["nodes"]["pc-b"]["probe"]:
        told = json.loads(json.dumps(status))
        told["nodes"]["pc-b"]["probe"][field] = odd
        _render(told)
    told = json.loads(json.dumps(status))
    told["nodes"]["pc-b"]["probe"] = {
        "role": "passive",
        "jobs": {"drill": odd, "x": {"result": odd, "finished_at": odd}},
    }
    _render(told)


@pytest.mark.parametrize("figure", ["inf", "nan"])
async def test_programs_get_json_whatever_figures_a_node_tells(tmp_path: Path, figure: str) -> None:
    async with site(tmp_path) as (url, witness):
        told = {**witness.watchdog.sightings["pc-b"].probe, "load": float(figure)}
        witness.watchdog.sightings["pc-b"] = replace(witness.watchdog.sightings["pc-b"], probe=told)
        async with asyncio.timeout(20):
            while '"load"' not in (answer := await get(url, "/api/v1/status")).text:
                await asyncio.sleep(0.02)
    assert json.loads(answer.text)["nodes"]["pc-b"]["probe"]["load"] is None


def _render(status: dict[str, Any]) -> None:
    from dualjoe_web.page import Page

    html = Page(acts=False).whole(feed.Snapshot(1, 1.8e9, status, ""))
    assert "Machines" in html
    assert len(html) < 50_000


async def events(url: str, count: int, path: str = "/events", **headers: str) -> list[dict[str, Any]]:
    """The first so many server-sent events."""

    def listen() -> list[dict[str, Any]]:
        channel = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
        channel.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = channel.getresponse()
        found: list[dict[str, Any]] = []
        assert response.headers["Content-Type"].startswith("text/event-stream")
        while len(found) < count:
            line = response.readline().decode()
            assert line, "the stream has ended"
            if line.startswith("data: "):
                found.append(json.loads(line.removeprefix("data: ")))
        channel.close()
        return found

    return await asyncio.to_thread(listen)


async def test_a_change_is_sent_and_what_is_the_same_is_not(tmp_path: Path) -> None:
    async with site(tmp_path) as (url, witness):
        await settled(url)
        listening = asyncio.create_task(events(url, 30))
        await asyncio.sleep(0.5)
        witness.store.add_event("requested", "something new", "pc-a", 7, {})
        sent = await listening
    assert set(sent[0]["sections"]) == set(SECTIONS), "who comes without a number gets all"
    news = [set(each["sections"]) for each in sent[1:]]
    assert sum("timeline" in each for each in news) == 1
    assert sum("graphs" in each for each in news) <= 1, "its edge moves every quarter of an hour"


async def test_who_has_the_newest_page_is_sent_only_what_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "LOOK_SECONDS", 60)
    async with site(tmp_path) as (url, _):
        await settled(url)
        number = re.search('data-number="([0-9]+)"', (await get(url)).text)
        assert number
        (first,) = await events(url, 1, f"/events?seen={number[1]}")
        assert first["sections"] == {}
        (first,) = await events(url, 1, f"/events?seen={number[1]}", Last_Event_ID="1")
        assert set(first["sections"]) == set(SECTIONS), "a connection that was lost missed something"


async def test_only_so_many_watch_at_once_and_the_watchdog_is_asked_once_for_all(tmp_path: Path) -> None:
    async with site(tmp_path) as (url, witness):
        await settled(url)
        asked = 0
        status = witness.watchdog.status

        def counted() -> dict[str, Any]:
            nonlocal asked
            asked += 1
            return status()

        witness.watchdog.status = counted  # type: ignore[method-assign]
        host = urlsplit(url)
        open_ = [await asyncio.open_connection(host.hostname, host.port) for _ in range(feed.MAX_WATCHERS)]
        for reader, writer in open_:
            writer.write(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b" 200 " in await reader.readline()
        refused = await get(url, "/events")
        assert (refused.status, refused.headers["Retry-After"]) == (503, "30")
        assert (await get(url)).status == 200
        before = asked
        await asyncio.sleep(1)
        assert asked - before <= 12
        for _, writer in open_:
            writer.close()
        async with asyncio.timeout(10):
            while (await asyncio.to_thread(lambda: _watch_status(url))) != 200:
                await asyncio.sleep(0.1)


async def test_only_so_many_connections_are_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One who opens them and says nothing keeps people from the page for a while, and takes no more of T440."""
    monkeypatch.setattr(web, "MAX_CONNECTIONS", 4)
    async with site(tmp_path) as (url, _):
        await settled(url)
        host = urlsplit(url)
        open_ = [await asyncio.open_connection(host.hostname, host.port) for _ in range(4)]
        assert (await get(url)).status == 503
        for _, writer in open_:
            writer.close()
        async with asyncio.timeout(10):
            while (await get(url)).status != 200:
                await asyncio.sleep(0.05)


def _watch_status(url: str) -> int:
    channel = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    channel.request("GET", "/events")
    status = channel.getresponse().status
    channel.close()
    return status


async def test_a_foreign_name_is_refused_on_loopback(tmp_path: Path) -> None:
    """A page elsewhere could give its own name the address 127.0.0.1."""
    async with site(tmp_path) as (url, _):
        assert (await get(url, "/api/v1/status", Host="evil.example:8440")).status == 421
        for host in ("localhost:9999", "127.0.0.1", "[::1]:8440", "LOCALHOST"):
            assert (await get(url, "/healthz", Host=host)).status in (200, 503)
    async with site(tmp_path, behind_proxy=True) as (url, _):
        assert (await get(url, "/healthz", Host="joe.example")).status in (200, 503)


async def test_the_watchdog_lets_the_page_s_user_only_look(tmp_path: Path) -> None:
    me = pwd.getpwuid(os.getuid()).pw_name
    witness = Witness(tmp_path, web_user=me)
    STATES["healthy"](witness)
    from dualjoe_watchdog.server import Server

    path = str(witness.settings.socket)
    for acts, allowed in ((False, False), (True, True)):
        witness.watchdog.settings = witness.settings.model_copy(update={"web_acts": acts})
        server = await Server(witness.watchdog, witness.history, witness.settings.socket).open()

        def ask(command: str, **fields: Any) -> str:
            return str(control.ask(command, path=path, **fields).get("error"))

        for command in ("status", "timeline", "history"):
            assert await asyncio.to_thread(ask, command) == "None"
        for command in ("switch", "pause", "resume"):
            told = await asyncio.to_thread(partial(ask, command, dry_run=True))
            assert (told != "not_allowed") == allowed, command
        for command in ("declare-off", "note", "alert-test", "anything"):
            assert await asyncio.to_thread(ask, command) == "not_allowed"
        server.close()
    witness.close()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seconds": 0}, "seconds must"),
        ({"seconds": 1e9}, "seconds must"),
        ({"points": 100000}, "points must"),
        ({"points": True}, "points"),
    ],
)
async def test_a_history_that_nobody_could_want_is_refused(tmp_path: Path, wrong: dict[str, Any], message: str) -> None:
    async with site(tmp_path) as (_, witness):
        reply = await asyncio.to_thread(lambda: control.ask("history", path=str(witness.settings.socket), **wrong))
    assert message in reply["message"]


# ---- graphs


def points(values: list[float | None], step: int = 1800) -> list[dict[str, Any]]:
    return [{"at": n * step, "nodes": {"pc-b": {"memory_age": value}}} for n, value in enumerate(values)]


def test_a_line_ends_where_nothing_was_told_and_where_a_sample_is_missing() -> None:
    told = points([1, 2, None, 4, 5, 6])
    del told[4]
    assert graph.lines(told, "memory_age")["pc-b"] == [[(0, 1), (1800, 2)], [(5400, 4)], [(9000, 6)]]


def test_a_graph_stays_in_its_frame_and_every_figure_has_a_place() -> None:
    drawn = str(graph.svg(graph.GRAPHS[0], points([0, 500, 90000, 3, None, 2]), 9000, 9000))
    numbers = [float(n) for pair in re.findall(r'points="([^"]*)"', drawn) for n in re.split("[ ,]", pair)]
    assert all(graph.LEFT <= x <= graph.WIDTH for x in numbers[::2])
    assert all(graph.TOP - 0.1 <= y <= graph.HEIGHT for y in numbers[1::2])
    assert "<circle" in drawn


def test_an_empty_graph_is_drawn() -> None:
    assert "<polyline" not in str(graph.svg(graph.GRAPHS[0], [], 9000, 9000))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "-"),
        (0, "0 ms"),
        (0.0123, "12 ms"),
        (1.5, "1.5 s"),
        (90, "90 s"),
        (190, "3.2 min"),
        (7200, "2 h"),
        (172800, "2 d"),
        (-5, "0 s"),
    ],
)
def test_lengths_of_time_are_short(seconds: float | None, words: str) -> None:
    assert graph.short(seconds) == words
