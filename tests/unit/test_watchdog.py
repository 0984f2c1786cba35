"""The watchdog over real SSH, SQLite and HTTP; its decisions have a table of their own in test_takeover.py."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from dualjoe import control, freshness, summary, wire
from dualjoe.notices import Notice
from dualjoe.pair import Record
from dualjoe_watchdog import coordinator, outbox
from dualjoe_watchdog.nodes import Node, Unreachable
from dualjoe_watchdog.settings import BadSettings, load
from dualjoe_watchdog.store import BadStore, Store
from watchdog_pair import TIMING, TOKEN, BotApi, Pair, until

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def bot() -> Iterator[BotApi]:
    api = BotApi()
    yield api
    api.close()


@pytest.fixture
async def pair(tmp_path: Path, bot: BotApi, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pair]:
    monkeypatch.setattr(coordinator, "STEP_SECONDS", 0.05)
    monkeypatch.setattr(outbox, "FIRST_RETRY_SECONDS", 0.1)
    made = Pair(tmp_path, bot)
    for name in made.guards:
        await made.switch_on(name)
    yield made
    await made.close()


async def ask(pair: Pair, command: str, **fields: Any) -> dict[str, Any]:
    path = str(pair.folder / "watchdog.sock")
    return await asyncio.to_thread(lambda: control.ask(command, path=path, **fields))


async def test_joe_starts_at_home_and_his_lease_is_renewed(pair: Pair) -> None:
    async with pair.watched() as watchdog:
        await until(lambda: watchdog.decision.situation == "home")
        await asyncio.sleep(2 * watchdog.policy.timing.ttl)
        assert pair.guards["pc-a"].active
        assert pair.guards["pc-a"].asked.count("grant") == 1
        assert "renew" in pair.guards["pc-a"].asked
        assert pair.guards["pc-b"].asked == []
    assert Store(pair.folder / "witness.sqlite").record().holder == "pc-a"


async def test_joe_moves_when_his_node_dies_is_announced_and_goes_home_again(pair: Pair, bot: BotApi) -> None:
    async with pair.watched() as watchdog:
        await until(lambda: watchdog.decision.situation == "home")
        await pair.switch_off("pc-a")
        await until(lambda: pair.guards["pc-b"].active)
        await until(lambda: any("Failover: Joe runs on pc-b" in text for text in bot.texts))
        await pair.switch_on("pc-a")
        await until(lambda: pair.guards["pc-a"].active)
        await until(lambda: any("Failback: Joe runs on pc-a" in text for text in bot.texts))
        kinds = [event["kind"] for event in watchdog.store.events(100)]
    moved = ["sync", "sync", "grant"]  # once while Joe serves, and what he wrote last when he is stopped
    assert [verb for verb in pair.guards["pc-a"].asked if verb != "renew"][-3:] == moved
    assert not pair.two_at_once()
    order = [kinds.index(kind) for kind in ("silent", "failover", "heard_again", "sync", "revoke", "failback")]
    assert order == sorted(order)


async def test_a_failover_tells_where_its_time_went(pair: Pair) -> None:
    async with pair.watched() as watchdog:
        await until(lambda: watchdog.decision.situation == "home")
        await pair.switch_off("pc-a")
        await until(lambda: watchdog.record.holder == "pc-b" and not watchdog.busy)
        told = next(event for event in watchdog.store.events(100) if event["kind"] == "failover")["data"]
    assert (told["from"], told["to"]) == ("pc-a", "pc-b")
    assert told["detection_seconds"] > 0
    assert told["detection_seconds"] + told["wait_seconds"] >= watchdog.policy.timing.ttl - 0.5
    assert told["last_heard_at"] < told["confirmed_at"]


async def test_a_node_that_cannot_start_the_gateway_gives_way_to_the_other(pair: Pair, bot: BotApi) -> None:
    pair.guards["pc-a"].refuse["grant"] = wire.Refused("not_ready", "the port is taken")
    async with pair.watched():
        await until(lambda: pair.guards["pc-b"].active)
        await until(lambda: any("the port is taken" in text for text in bot.texts))
    assert pair.guards["pc-a"].terms == []


async def test_a_failed_sync_takes_a_planned_move_back(pair: Pair) -> None:
    async with pair.watched() as watchdog:
        await until(lambda: watchdog.decision.situation == "home")
        pair.guards["pc-b"].refuse["sync"] = wire.Refused("sync_failed", "the disk is full")
        reply = await ask(pair, "switch", to="standby")
        assert (reply["ok"], reply["error"]) == (False, "not_moved")
        await until(lambda: pair.guards["pc-a"].active)
    assert pair.guards["pc-b"].terms == []


async def test_joe_does_not_go_back_to_a_sick_gateway_for_its_memory(pair: Pair, bot: BotApi) -> None:
    async with pair.watched(auto_failback=False) as watchdog:
        await until(lambda: watchdog.decision.situation == "home")
        pair.guards["pc-b"].refuse["sync"] = wire.Refused("sync_failed", "pc-a does not answer")
        pair.guards["pc-a"].more["gateway"] = {"state": "failed", "detail": "the port is taken"}
        await until(lambda: pair.guards["pc-b"].active)
        await until(lambda: any("Joe starts on pc-b with the memory fetched last" in text for text in bot.texts))
    assert "sync" in pair.guards["pc-b"].asked
    assert len(pair.guards["pc-a"].terms) == 1


async def test_nothing_is_granted_that_cannot_be_stored(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_store: Store, _record: Record) -> None:
        message = "database or disk is full"
        raise sqlite3.OperationalError(message)

    monkeypatch.setattr(Store, "save_record", full)
    async with pair.watched():
        await asyncio.sleep(2.5)
    assert pair.guards["pc-a"].asked == pair.guards["pc-b"].asked == []


async def test_a_watchdog_that_starts_again_goes_on_where_it_was(pair: Pair) -> None:
    async with pair.watched() as watchdog:
        await until(lambda: watchdog.decision.situation == "home")
    async with pair.watched() as watchdog:
        await until(lambda: watchdog.decision.situation == "home")
        await asyncio.sleep(1.5)
    assert pair.guards["pc-a"].asked.count("grant") == 1, "the running lease was to be renewed, not granted anew"


async def test_a_guard_that_answers_for_another_node_is_not_believed(pair: Pair) -> None:
    pair.guards["pc-b"].name = "pc-c"
    async with pair.watched() as watchdog:
        await until(lambda: watchdog.sightings["pc-b"].failures > 2)
        assert "pc-c" in watchdog.silences["pc-b"]


async def test_a_pause_binds_both_nodes_and_outlives_the_watchdog(pair: Pair, bot: BotApi) -> None:
    guards = pair.guards
    async with pair.watched() as watchdog:
        await until(lambda: watchdog.decision.situation == "home")
        plan = await ask(pair, "pause", seconds=60, dry_run=True)
        assert (plan["ok"], plan["changed"], watchdog.record.pause) == (True, True, None)
        assert (await ask(pair, "pause", seconds=-1))["error"] == "bad_request"
        paused = await ask(pair, "pause", seconds=60, by="ada", reason="new switch")
        assert (paused["ok"], paused["changed"]) == (True, True)
        told = [guards[name].asked.index("pause") >= 0 for name in ("pc-b", "pc-a")]
        assert told == [True, True]
        await until(lambda: any("Paused until" in text and "new switch" in text for text in bot.texts))
        assert "resume" in (await ask(pair, "switch", to="standby"))["message"]
    await asyncio.sleep(watchdog.policy.timing.quiet_seconds)
    assert guards["pc-a"].active, "nobody renews, and the holder runs on"
    async with pair.watched() as watchdog:
        await pair.switch_off("pc-a")
        await until(lambda: watchdog.decision.situation in ("promised", "paused"))
        await asyncio.sleep(2 * watchdog.policy.timing.quiet_seconds)
        assert not guards["pc-b"].active, "nobody takes over in a pause"
        resumed = await ask(pair, "resume", by="ada")
        assert (resumed["ok"], resumed["changed"]) == (True, True)
        await asyncio.sleep(watchdog.policy.timing.quiet_seconds)
        assert not guards["pc-b"].active, "pc-a cannot be told, and may still run"
        off = await ask(pair, "declare-off", node="pc-a", by="ada")
        assert off["ok"] is True
        await until(lambda: guards["pc-b"].active)
        assert (await ask(pair, "resume"))["changed"] is False
        assert (await ask(pair, "declare-off", node="pc-b"))["ok"] is False


async def test_who_only_observes_says_what_it_would_do(pair: Pair, bot: BotApi) -> None:
    async with pair.watched(mode="observe") as watchdog:
        await until(lambda: watchdog.decision.situation == "home")
        assert "observing" not in watchdog.status()["standing"], "the setting says it"
        await pair.switch_off("pc-a")
        await until(lambda: any("nothing is moved now; otherwise: pc-a has been silent" in text for text in bot.texts))
        await asyncio.sleep(watchdog.policy.timing.quiet_seconds)
    assert pair.guards["pc-b"].terms == []


@pytest.mark.parametrize("script", ["exit 0", "exit 3", "sleep 60", None])
async def test_a_fence_hook_ends_the_wait_only_when_it_says_so(pair: Pair, tmp_path: Path, script: str | None) -> None:
    hook = tmp_path / "fence"
    if script is not None:
        hook.write_text(f"#!/bin/sh\necho $1 >> {tmp_path}/fenced\n{script}\n")
        hook.chmod(0o755)
    pair.guards["pc-b"].more["peer_reachable"] = False
    timing = TIMING.model_copy(update={"ttl": 5})  # long enough to ask the hook before it, also on a busy computer
    timeout = 30 if script == "exit 0" else 0.3
    async with pair.watched(fence_command=(str(hook),), fence_timeout=timeout, timing=timing) as watchdog:
        await until(lambda: watchdog.decision.situation == "home", 30)
        await pair.switch_off("pc-a")
        told = "fenced" if script == "exit 0" else "not_fenced"
        await until(lambda: any(event["kind"] == told for event in watchdog.store.events(100)), 30)
        if script == "exit 0":
            await until(lambda: pair.guards["pc-b"].active, 30)
        else:
            assert (watchdog.record.holder, pair.guards["pc-b"].terms) == ("pc-a", [])
        if script is not None:
            assert (tmp_path / "fenced").read_text() == "pc-a\n"


async def test_a_failover_is_told_of_also_by_a_watchdog_that_never_saw_joe_at_home(pair: Pair, bot: BotApi) -> None:
    async with pair.watched() as watchdog:
        await until(lambda: watchdog.decision.situation == "home")
    await pair.switch_off("pc-a")
    async with pair.watched():
        await until(lambda: any("Failover: Joe runs on pc-b" in text for text in bot.texts))


async def test_a_late_probe_does_not_end_the_slow_verb_beside_it(pair: Pair) -> None:
    pair.guards["pc-b"].slow = {"sync": 1.0, "probe": 0.5}
    settings = pair.settings()
    node = Node(settings.standby, settings.key, settings.known_hosts)
    syncing = asyncio.create_task(node.ask(wire.request("sync"), 10))
    await until(lambda: node._line is not None)
    first = node._line
    with pytest.raises(Unreachable):
        await node.ask(wire.request("probe"), 0.2)
    assert (await syncing)["ok"] is True
    assert first is not None
    await until(first.connection.is_closed)
    pair.guards["pc-b"].slow = {}
    assert (await node.ask(wire.request("probe"), 10))["ok"] is True
    node.close()


async def test_of_a_node_that_prints_without_end_no_more_is_taken_than_a_line(pair: Pair) -> None:
    """It is asked for a sync for five minutes, and what it sends in that time would fill T440's memory."""
    pair.guards["pc-b"].prints_on = True
    settings = pair.settings()
    node = Node(settings.standby, settings.key, settings.known_hosts)
    with pytest.raises(Unreachable, match="too long"):
        await node.ask(wire.request("sync"), 10)
    pair.guards["pc-b"].prints_on = False
    assert pair.guards["pc-b"].printed <= 16 * wire.MAX_LINE_BYTES, "its own buffers, and those on the way"
    assert (await node.ask(wire.request("sync"), 10))["ok"] is True
    node.close()


# Alerts


async def test_what_lasts_is_told_of_again(pair: Pair, bot: BotApi) -> None:
    async with pair.watched(reminder=0.6):
        pair.guards["pc-b"].more["stray_seconds_ago"] = 1.0
        await until(lambda: sum("was started without a lease" in text for text in bot.texts) >= 3)
        pair.guards["pc-b"].more["stray_seconds_ago"] = None
        await until(lambda: any("Over: nothing runs without a lease on pc-b" in text for text in bot.texts))
    texts = [text for text in bot.texts if "was started without a lease" in text]
    assert [text.startswith("[joe] Still so: ") for text in texts[:2]] == [False, True]


def uncovered(kind: str) -> dict[str, Any]:
    return {"backup": {"result": "ok", "warnings": {f"uncovered-{kind}": "look at it."}}}


async def test_a_watchdog_that_starts_anew_tells_nothing_twice_and_what_has_ended_meanwhile(
    pair: Pair, bot: BotApi
) -> None:
    a, b = (pair.guards[name] for name in ("pc-a", "pc-b"))
    a.more["jobs"] = uncovered("volumes")
    b.more["jobs"] = {"memory-sync": {"result": "failed", "message": "no route"}}
    b.more["fit"], b.more["unfit"] = False, ["disk is full"]
    async with pair.watched() as watchdog:
        await until(lambda: watchdog.decision.situation == "home")
        await until(lambda: {"warning backup uncovered-volumes", "job pc-b memory-sync"} <= set(standing(watchdog)))
        await until(lambda: "unfit pc-b" in standing(watchdog) and watchdog.outbox.waiting == 0)
        before = len(bot.texts)
    b.more["jobs"] = {"memory-sync": {"result": "ok"}}
    async with pair.watched() as watchdog:
        assert set(standing(watchdog)) >= {"warning backup uncovered-volumes", "job pc-b memory-sync", "unfit pc-b"}
        await until(lambda: any("Over: Job memory-sync on pc-b works again." in text for text in bot.texts[before:]))
        await until(lambda: watchdog.decision.situation == "home" and watchdog.outbox.waiting == 0)
        assert set(standing(watchdog)) == {"warning backup uncovered-volumes", "unfit pc-b"}
    told = "\n".join(bot.texts[before:])
    assert told.count("Over: ") == 1
    assert not any(part in told for part in ("look at it", "disk is full", "no route"))
    async with pair.watched() as watchdog:
        a.more["jobs"] = {}
        await until(lambda: any("Over: job backup warns no more" in text for text in bot.texts[before:]))


def standing(watchdog: coordinator.Coordinator) -> dict[str, str]:
    """The troubles that people know of."""
    found: dict[str, str] = watchdog.status()["standing"]
    return found


async def test_alerts_are_kept_until_telegram_takes_them(
    pair: Pair, bot: BotApi, caplog: pytest.LogCaptureFixture
) -> None:
    bot.broken = True
    async with pair.watched() as watchdog:
        watchdog.outbox.put(Notice("the barn is on fire"))
        await until(lambda: len(bot.paths) >= 2)
        assert watchdog.status()["alerts_waiting"] == 1
    bot.broken = False
    async with pair.watched() as watchdog:
        await until(lambda: bot.texts == ["[joe] the barn is on fire"])
        await until(lambda: watchdog.status()["alerts_waiting"] == 0)
    assert bot.paths[0] == f"/bot{TOKEN}/sendMessage"
    assert "not sent" in caplog.text
    assert TOKEN not in caplog.text


def fill_disk(watchdog: coordinator.Coordinator, monkeypatch: pytest.MonkeyPatch) -> None:
    """T440 can write nothing any more."""

    def full(*_arguments: object, **_named: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    for write in ("add_alert", "alerts_taken", "save_told", "add_event", "save_record"):
        monkeypatch.setattr(watchdog.store, write, full)


async def test_a_full_disk_is_told_of_and_does_not_end_the_watch(
    pair: Pair, bot: BotApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pair.watched() as watchdog:
        await until(lambda: watchdog.decision.situation == "home")
        fill_disk(watchdog, monkeypatch)
        for text in ("the barn is on fire", "so is the house"):
            assert await watchdog.outbox.missing(watchdog.outbox.put(Notice(text)), 5) == []
        assert bot.texts[-2:] == ["[joe] the barn is on fire", "[joe] so is the house"]
        pair.guards["pc-b"].more["stray_seconds_ago"] = 1.0
        await until(lambda: any("was started without a lease" in text for text in bot.texts))
        assert watchdog.decision.situation == "home"
        assert pair.guards["pc-a"].active
        monkeypatch.undo()
        assert await watchdog.outbox.missing(watchdog.outbox.put(Notice("rain")), 5) == []
    assert bot.texts[-1] == "[joe] rain"
    async with pair.watched(free_bytes=2**62):
        await until(lambda: any("The disk of T440 is full" in text for text in bot.texts))


async def test_a_move_that_cannot_be_written_down_is_not_made_and_people_are_told(
    pair: Pair, bot: BotApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pair.watched(reminder=0.6) as watchdog:
        await until(lambda: watchdog.decision.situation == "home")
        fill_disk(watchdog, monkeypatch)
        await pair.switch_off("pc-a")
        await until(lambda: sum("T440 cannot write down what it decides" in text for text in bot.texts) >= 2)
        assert "pc-a has been silent" in next(text for text in bot.texts if "cannot write down" in text)
        assert watchdog.status()["situation"] == "unwritten"
        assert pair.guards["pc-b"].asked == []
        monkeypatch.undo()
        await until(lambda: pair.guards["pc-b"].active)
        await until(lambda: any("Over: T440 writes down what it decides again" in text for text in bot.texts))


async def test_who_serves_is_renewed_also_while_a_move_home_cannot_be_written_down(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, standby = (pair.guards[name] for name in ("pc-a", "pc-b"))
    async with pair.watched() as watchdog:
        await until(lambda: watchdog.decision.situation == "home")
        await pair.switch_off("pc-a")
        await until(lambda: standby.active and watchdog.decision.situation == "away")
        fill_disk(watchdog, monkeypatch)
        asked = len(home.asked)
        await pair.switch_on("pc-a")
        await until(lambda: watchdog.decision.situation == "unwritten")
        await asyncio.sleep(2 * watchdog.policy.timing.ttl)
        assert (standby.active, home.asked[asked:]) == (True, [])
        assert "has been well" in watchdog.decision.reason


async def test_a_job_that_fails_on_a_node_is_told_once_and_so_is_its_end(pair: Pair, bot: BotApi) -> None:
    async with pair.watched():
        pair.guards["pc-b"].more["jobs"] = {"memory-sync": {"result": "failed", "message": "no route"}}
        await until(lambda: any("memory-sync on pc-b failed: no route" in text for text in bot.texts))
        await asyncio.sleep(1)
        assert sum("no route" in text for text in bot.texts) == 1
        pair.guards["pc-b"].more["jobs"] = {"memory-sync": {"result": "ok"}}
        await until(lambda: any("Over: Job memory-sync on pc-b" in text for text in bot.texts))


async def test_a_job_of_t440_itself_that_fails_is_told_and_shown(pair: Pair, bot: BotApi) -> None:
    (pair.folder / "jobs").mkdir()
    drill = {"result": "failed", "message": "notes did not answer", "finished_at": "2026-11-24T06:00:00Z"}
    (pair.folder / "jobs/drill.json").write_text(json.dumps(drill))
    async with pair.watched() as watchdog:
        await until(lambda: any("Job drill on T440 failed: notes did not answer" in text for text in bot.texts))
        (t440,) = [line for line in summary.of_pair(watchdog.status()) if line.startswith("  T440     witness  ")]
        assert "drill failed" in t440


async def test_a_job_that_does_not_run_is_told_and_so_is_its_end(
    pair: Pair, bot: BotApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(freshness, "SLACK_SECONDS", 0.0)

    def ran(name: str) -> None:
        guard = pair.guards[name]
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        clock = {"id": guard.state.boot_id, "finished_seconds": now, "captured_seconds": now}
        guard.more["jobs"] = {"memory-sync": {"result": "ok", "boot": clock}}

    for name in pair.guards:
        ran(name)
    async with pair.watched(jobs=[{"name": "memory-sync", "interval": 0.5, "brings": "Joe's memory"}]):
        async with asyncio.timeout(10):
            while not any("Job memory-sync on pc-b has ended no run" in text for text in bot.texts):
                ran("pc-a")
                await asyncio.sleep(0.02)
        async with asyncio.timeout(10):
            while not any("Over: Job memory-sync on pc-b runs as it should" in text for text in bot.texts):
                ran("pc-a")
                ran("pc-b")
                await asyncio.sleep(0.02)
    assert not any("on pc-a" in text for text in bot.texts)


async def test_the_test_alert_arrives(pair: Pair, bot: BotApi) -> None:
    async with pair.watched():
        assert (await ask(pair, "alert-test"))["ok"] is True
    assert any("test" in text for text in bot.texts)


# People


async def test_a_move_by_hand_is_shown_done_and_not_done_twice(pair: Pair) -> None:
    events: list[dict[str, Any]] = []
    async with pair.watched() as watchdog:
        await until(lambda: watchdog.decision.situation == "home")
        plan = await ask(pair, "switch", to="standby", dry_run=True)
        assert (plan["ok"], plan["changed"], pair.guards["pc-b"].asked) == (True, True, [])
        assert "start the gateway on pc-b" in plan["message"]
        done = await ask(pair, "switch", to="standby", by="ada", on_event=events.append)
        assert (done["ok"], done["changed"], done["node"]) == (True, True, "pc-b")
        assert pair.guards["pc-b"].active
        again = await ask(pair, "switch", to="standby")
        assert (again["ok"], again["changed"]) == (True, False)
        await asyncio.sleep(1.5)
        assert pair.guards["pc-b"].active, "moved by hand, so no move home before it is asked for"
        assert (await ask(pair, "switch", to="primary"))["changed"] is True
    assert [event["kind"] for event in events] == ["requested", "sync", "revoke", "sync", "grant", "switchover"]
    assert "ada" in events[0]["reason"]
    assert not pair.two_at_once()


# A move is then over before the next heartbeat: every probe that is counted comes from the move.
SLOW_HEART = TIMING.model_copy(update={"heartbeat": 20, "ttl": 60})


async def test_a_move_asks_a_node_nothing_that_it_has_just_told(pair: Pair) -> None:
    a, b = (pair.guards[name] for name in ("pc-a", "pc-b"))
    async with pair.watched() as watchdog:
        await until(lambda: watchdog.decision.situation == "home")
    async with pair.watched(timing=SLOW_HEART) as watchdog:
        await until(lambda: watchdog.decision.situation == "home" and watchdog.sightings["pc-b"].heard)
        a.heard, b.heard = [], []
        assert (await ask(pair, "switch", to="standby"))["changed"] is True
        assert [verb for verb in a.heard if verb != "renew"] == ["revoke"]
        assert [verb for verb in b.heard if verb != "renew"] == ["sync", "sync", "grant"]


def _long_ago(probe: dict[str, Any]) -> dict[str, Any]:
    stamp = wire.Stamp.parse(probe["stamp"])
    return {**probe, "stamp": str(wire.Stamp(stamp.boot_id, stamp.nanoseconds - 10**10))}


@pytest.mark.parametrize(
    "carry",
    [
        pytest.param(lambda _probe: None, id="a guard of an older version"),
        pytest.param(lambda probe: {**probe, "node": "pc-c"}, id="of another node"),
        pytest.param(lambda probe: {**probe, "stamp": f"{'0' * 36}:1"}, id="of another boot"),
        pytest.param(_long_ago, id="long under way"),
    ],
)
async def test_a_node_whose_answer_does_not_tell_how_it_is_is_asked(pair: Pair, carry: Any) -> None:
    a, b = (pair.guards[name] for name in ("pc-a", "pc-b"))
    async with pair.watched() as watchdog:
        await until(lambda: watchdog.decision.situation == "home")
    a.carry = b.carry = carry
    async with pair.watched(timing=SLOW_HEART) as watchdog:
        await until(lambda: watchdog.decision.situation == "home" and watchdog.sightings["pc-b"].heard)
        a.heard, b.heard = [], []
        assert (await ask(pair, "switch", to="standby"))["changed"] is True
        assert [verb for verb in a.heard if verb != "renew"] == ["revoke", "probe"]
        assert [verb for verb in b.heard if verb != "renew"] == ["sync", "probe", "sync", "probe", "grant", "probe"]


async def test_a_look_that_another_has_overtaken_tells_nothing(pair: Pair) -> None:
    async with pair.watched(timing=SLOW_HEART) as watchdog:
        await until(lambda: watchdog.sightings["pc-b"].heard)
        known = watchdog.sightings["pc-b"]
        watchdog._heard("pc-b", {**_long_ago(dict(known.probe)), "fit": False})
        assert watchdog.sightings["pc-b"] == known


async def test_a_move_to_a_node_that_is_gone_is_refused_with_the_reason(pair: Pair) -> None:
    async with pair.watched() as watchdog:
        await until(lambda: watchdog.decision.situation == "home")
        await pair.switch_off("pc-b")
        await until(lambda: watchdog.sightings["pc-b"].failures > 1)
        reply = await ask(pair, "switch", to="pc-b")
        assert (reply["ok"], reply["message"]) == (False, "pc-b does not answer the witness")
        assert (await ask(pair, "switch", to="pc-x"))["error"] == "bad_request"


@pytest.mark.parametrize("line", [b"", b"{}\n", b"[]\n", b"no json\n", b'{"v":1,"command":"rm"}\n', b"x" * 70000])
async def test_strange_requests_get_an_answer_and_change_nothing(pair: Pair, line: bytes) -> None:
    async with pair.watched() as watchdog:
        reader, writer = await asyncio.open_unix_connection(str(pair.folder / "watchdog.sock"))
        writer.write(line)
        writer.write_eof()
        assert json.loads(await reader.readline())["ok"] is False
        writer.close()
        assert watchdog.record.target is None


def test_a_watchdog_that_is_down_is_named(tmp_path: Path) -> None:
    with pytest.raises(control.ControlError, match="journalctl -u dualjoe-watchdog"):
        control.ask("status", path=str(tmp_path / "nobody.sock"))


def watchdog_events(pair: Pair) -> list[dict[str, Any]]:
    """The timeline that a watchdog has left."""
    store = Store(pair.folder / "witness.sqlite")
    try:
        return store.events(100)
    finally:
        store.close()


# Files

GOOD = {
    "pair": "joe",
    "primary": {"name": "pc-a", "address": "192.0.2.11"},
    "standby": {"name": "pc-b", "address": "192.0.2.12"},
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"primary": {"name": "pc-a"}}, "primary.address"),
        ({"standby": GOOD["primary"]}, "the same node"),
        ({"timing": {"ttl": 10}}, "heartbeat"),
        ({"timing": {"margin": 1}}, "guard_watchdog"),
        ({"timing": {"ttl": "soon"}}, "timing.ttl"),
        ({"telegram": {"api_base": "ftp://x", "token_file": "/t", "chat_id": "1"}}, "telegram.api_base"),
        ({"alerts": {"quiet": "22:00-7:00"}}, "alerts.quiet"),
        ({"alerts": {"per_minute": 0}}, "alerts.per_minute"),
        ({"runbook_url": "javascript:x"}, "runbook_url"),
        ({"surprise": 1}, "surprise"),
        ({"jobs": [{"name": "backup"}]}, "jobs.0.interval"),
    ],
)
def test_check_config_names_the_mistake(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = tmp_path / "watchdog.json"
    path.write_text(json.dumps({**GOOD, **change}))
    libraries = f"{ROOT}/plugins/module_utils:{ROOT}/roles/watchdog/files"
    command = [sys.executable, "-m", "dualjoe_watchdog", "--check-config", "--config", str(path)]
    done = subprocess.run(
        command, env={"PYTHONPATH": libraries}, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_good_settings_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "watchdog.json"
    path.write_text(json.dumps(GOOD))
    assert load(path).primary.name == "pc-a"
    path.write_text("{")
    with pytest.raises(BadSettings, match=r"watchdog\.json"):
        load(path)


def test_a_broken_store_is_never_taken_for_an_empty_one(tmp_path: Path) -> None:
    path = tmp_path / "witness.sqlite"
    path.write_bytes(b"SQLite format 3\0" + b"\xff" * 4096)
    with pytest.raises(BadStore):
        Store(path)
