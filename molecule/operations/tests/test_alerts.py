"""Alerts when Telegram takes none for a while: nothing is lost, the order is kept, and no flood comes after."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pair import run, wait_until

if TYPE_CHECKING:
    from pair import Pair

testinfra_hosts = ["docker://t440"]

TOLD = ("Paused until", "Over: the pause", "pc-b could not run", "Over: pc-b could run")
STATE = "/srv/openclaw/openclaw.json"


def troubles(pair: Pair) -> str:
    return pair.on("t440", "dualjoe", "status", "--json").stdout


def test_what_came_up_while_telegram_was_away_is_told_in_order_and_together(pair: Pair) -> None:
    wait_until(lambda: pair.gateway_ready("pc-a"), "PC-A's gateway is ready", 240)
    wait_until(lambda: '"troubles": []' in troubles(pair), "nothing is wrong", 120)
    known = len(pair.alerts())
    run("docker", "pause", "telegram")
    try:
        pair.on("t440", "dualjoe", "pause", "--for", "10m", "--reason", "telegram is away")
        time.sleep(15)
        pair.on("t440", "dualjoe", "resume")
        wait_until(lambda: "Paused" not in troubles(pair), "the pause is over", 60)
        pair.on("pc-b", "mv", STATE, f"{STATE}.away")
        wait_until(lambda: "pc-b could not run" in troubles(pair), "pc-b is unfit", 60)
        pair.on("pc-b", "mv", f"{STATE}.away", STATE)
        wait_until(lambda: "pc-b could not run" not in troubles(pair), "pc-b is fit again", 60)
    finally:
        run("docker", "unpause", "telegram")
    wait_until(lambda: "Over: pc-b could run" in "".join(pair.alerts()[known:]), "people are told of it all", 120)
    told = pair.alerts()[known:]
    places = ["\n".join(told).find(words) for words in TOLD]
    assert -1 not in places, (TOLD, told)
    assert places == sorted(places), told
    # One was under way when Telegram went away, and is told again: it is not known that it came.
    assert len(told) <= 3, "all that waited is told together, and what came up meanwhile"
