"""Who may look at the page, who may act, and what it refuses to be."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import http.client
import json
import ssl
import subprocess
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import bcrypt
import pytest
from dualjoe_watchdog import coordinator
from dualjoe_web import acts, feed
from dualjoe_web.settings import BadSettings, Settings, load
from test_web import get, settled
from watchdog_pair import BotApi, Pair, until
from web_site import served, site

TOKEN = "correct horse battery staple"
HASH = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
USERS = {"users": {"anna": HASH}}
ACTS = {"action_token_sha256": hashlib.sha256(TOKEN.encode()).hexdigest()}
FORM = {"Content_Type": "application/x-www-form-urlencoded"}


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(acts, "_WRONG_SECONDS", 0.1)


def basic(told: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(told.encode()).decode()}


@pytest.mark.parametrize("path", ["/", "/events", "/metrics", "/api/v1/status", "/static/page.css", "/nothing"])
async def test_without_a_password_nothing_is_shown(tmp_path: Path, path: str) -> None:
    async with site(tmp_path, "missing", **USERS) as (url, _):
        refused = await get(url, path)
        assert refused.status == 401
        assert refused.headers["WWW-Authenticate"].startswith("Basic")
        assert (await get(url, "/healthz")).status == 503, "it is open, and tells one word"


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ("anna:secret", 200),
        ("anna:wrong", 401),
        ("anna:", 401),
        ("bert:secret", 401),
        (":secret", 401),
        ("anna:" + "x" * 200, 401),
    ],
)
async def test_a_password_is_asked_for(tmp_path: Path, told: str, status: int) -> None:
    async with site(tmp_path, "missing", **USERS) as (url, _):
        assert [(await get(url, "/", **basic(told))).status for _ in range(2)] == [status] * 2


@pytest.mark.parametrize("header", ["Basic", "Basic !!!", "Bearer x", "Basic /////w=="])
async def test_what_is_no_password_is_refused(tmp_path: Path, header: str) -> None:
    async with site(tmp_path, "missing", **USERS) as (url, _):
        assert (await get(url, "/", Authorization=header)).status == 401


async def test_the_page_is_served_with_a_certificate(tmp_path: Path) -> None:
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=t440 -addext"
    where = ["subjectAltName=IP:127.0.0.1", "-keyout", tmp_path / "key.pem", "-out", tmp_path / "certificate.pem"]
    await asyncio.to_thread(partial(subprocess.run, [*make.split(), *where], check=True, capture_output=True))
    (tmp_path / "web.json").write_text(json.dumps({"certificate": "certificate.pem", "key": "key.pem", **USERS}))
    trusted = ssl.create_default_context(cafile=tmp_path / "certificate.pem")

    def ask(url: str) -> int:
        channel = http.client.HTTPSConnection(urlsplit(url).netloc, timeout=20, context=trusted)
        channel.request("GET", "/", headers=basic("anna:secret"))
        status = channel.getresponse().status
        channel.close()
        return status

    async with served(load(tmp_path / "web.json")) as url:
        assert url.startswith("https://")
        assert await asyncio.to_thread(ask, url) == 200


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"address": "0.0.0.0"}, "is not this machine alone"),
        ({"address": "192.0.2.1", **USERS}, "is not this machine alone"),
        ({"address": "::", "certificate": "c", "key": "k"}, "is not this machine alone"),
        ({"address": "t440"}, "is no IP address"),
        ({"certificate": "c"}, "certificate and key are both needed"),
        ({"users": {"anna": "secret"}}, "users.anna"),
        ({"users": {"an:na": HASH}}, "has no colon"),
        ({"port": 0}, "port"),
        ({"action_token_sha256": TOKEN}, "action_token_sha256"),
        ({"adress": "::1"}, "adress"),
    ],
)
def test_settings_that_would_open_the_page_are_refused(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    path = tmp_path / "web.json"
    path.write_text(json.dumps(settings))
    with pytest.raises(BadSettings, match=message) as refused:
        load(path)
    assert "secret" not in str(refused.value)
    assert TOKEN not in str(refused.value)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"address": "::1"},
        {"address": "0.0.0.0", "behind_proxy": True},
        {"address": "::", "certificate": "c", "key": "k", **USERS},
    ],
)
def test_settings_that_are_good_are_taken(tmp_path: Path, settings: dict[str, Any]) -> None:
    path = tmp_path / "web.json"
    path.write_text(json.dumps(settings))
    assert load(path).port == 8440


# ---- acts, on a watchdog that runs


@pytest.fixture
async def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[str, Pair, Any]]:
    """The page over a pair that lives."""
    monkeypatch.setattr(coordinator, "STEP_SECONDS", 0.05)
    bot = BotApi()
    pair = Pair(tmp_path, bot)
    for name in pair.guards:
        await pair.switch_on(name)
    async with pair.watched() as watchdog:
        await until(lambda: watchdog.decision.situation == "home")
        async with served(Settings.model_validate({"socket": str(tmp_path / "watchdog.sock"), **USERS, **ACTS})) as url:
            yield url, pair, watchdog
    await pair.close()
    bot.close()


async def post(url: str, name: str, *, headers: dict[str, str] | None = None, **form: str) -> Any:
    fields = urlencode({"sure": "yes", "token": TOKEN, **form})
    return await get(url, f"/act/{name}", "POST", fields, **{**FORM, **basic("anna:secret"), **(headers or {})})


async def test_joe_is_paused_and_moved_by_the_page_and_the_timeline_says_by_whom(
    watched: tuple[str, Pair, Any],
) -> None:
    url, pair, watchdog = watched
    done = await post(url, "pause", seconds="1800", reason="new disks")
    assert (done.status, done.headers["Location"]) == (303, "../#timeline")
    assert (watchdog.record.pause.by, watchdog.record.pause.reason) == ("web (anna)", "new disks")
    assert (await post(url, "resume")).status == 303
    assert watchdog.record.pause is None
    assert (await post(url, "switchover", to="pc-b")).status == 303
    await until(lambda: pair.guards["pc-b"].active)
    asked = [event["reason"] for event in watchdog.store.events(100) if event["kind"] == "requested"]
    assert [
        words
        for words in ("pauses for 1800 s", "ends the pause", "asks to move Joe to pc-b")
        if words not in str(asked)
    ] == []
    assert all(words.startswith("web (anna)") for words in asked)


async def test_what_the_watchdog_refuses_is_shown(watched: tuple[str, Pair, Any]) -> None:
    url, pair, watchdog = watched
    await pair.switch_off("pc-b")
    await until(lambda: watchdog.sightings["pc-b"].failures > 2)
    refused = await post(url, "switchover", to="pc-b")
    assert refused.status == 409
    assert "It came to nothing" in refused.shown
    assert pair.guards["pc-a"].active


async def test_one_thing_is_done_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = asyncio.Event()

    async def held_up(*_asked: Any) -> str:
        await done.wait()
        return ""

    monkeypatch.setattr(acts, "_SHOWN_SECONDS", 0)
    monkeypatch.setattr(acts.Acts, "_done", held_up)
    async with site(tmp_path, **ACTS) as (url, _):
        assert (await post(url, "switchover", to="pc-b")).status == 303
        refused = await post(url, "pause", seconds="1800")
        assert (refused.status, "still under way" in refused.shown) == (409, True)
        done.set()


REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({"token": "wrong"}, 403, "the token is not right"),
    ({"token": ""}, 403, "the token is not right"),
    ({"sure": "no"}, 400, "tick that you are sure"),
    ({"seconds": "99999999"}, 400, "no choice"),
    ({"seconds": "x"}, 400, "no choice"),
    ({"headers": {"Sec_Fetch_Site": "cross-site"}}, 403, "Another site"),
    ({"headers": {"Content_Type": "text/plain"}}, 400, "no form"),
    ({"headers": basic("anna:wrong")}, 401, "password"),
    ({"reason": "x" * 9000}, 400, "no form"),
    ({"reason": "x" * 300}, 409, "short text"),
]


async def test_a_request_that_is_not_whole_does_nothing(watched: tuple[str, Pair, Any]) -> None:
    url, _, watchdog = watched
    for wrong, status, message in REFUSED:
        refused = await post(url, "pause", **{"seconds": "1800", **wrong})
        assert (refused.status, message in refused.shown) == (status, True), (wrong, refused.text)
    assert (await get(url, "/act/pause", **basic("anna:secret"))).status == 200, "a look does nothing"
    assert (await post(url, "declare-off", node="pc-a")).status == 404
    assert watchdog.record.pause is None


async def test_the_form_shows_what_was_given_as_text_and_never_the_token(watched: tuple[str, Pair, Any]) -> None:
    url, _, _ = watched
    shown = (await post(url, "pause", token="my wrong token", seconds="1800", reason='"><script>')).text
    assert "<script>" not in shown
    assert "&#34;&gt;&lt;script&gt;" in shown
    assert "my wrong token" not in shown


async def test_guesses_wait_for_each_other(tmp_path: Path) -> None:
    async with site(tmp_path, **ACTS) as (url, _):
        began = asyncio.get_running_loop().time()
        await asyncio.gather(*(post(url, "resume", token=f"guess {n}") for n in range(5)))
        assert asyncio.get_running_loop().time() - began >= 5 * acts._WRONG_SECONDS


async def test_without_a_token_there_is_nothing_to_act_with(tmp_path: Path) -> None:
    async with site(tmp_path) as (url, _):
        await settled(url)
        assert "act/" not in (await get(url)).text
        assert (await get(url, "/act/pause")).status == 404
        assert (await post(url, "pause", seconds="1800")).status == 404
