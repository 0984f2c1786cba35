"""systemd is told to keep a node's hardware watchdog, and to leave it alone again, under a Joe who goes on.

The lab has no such hardware: a file stands in its place, so that what systemd does with it is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backups import ran
from pair import wait_until

if TYPE_CHECKING:
    from pair import Pair

testinfra_hosts = ["docker://t440"]

NODES = ("pc-a", "pc-b")


def kept(pair: Pair) -> list[str]:
    """After how many seconds without systemd each node would be reset."""
    show = ("systemctl", "show", "--property=RuntimeWatchdogUSec", "--value")
    return [pair.on(node, *show).stdout.strip() for node in NODES]


def test_systemd_keeps_the_hardware_watchdog_and_leaves_it_alone_again(pair: Pair) -> None:
    wait_until(lambda: pair.gateway_ready("pc-a"), "PC-A's gateway is ready", 240)
    serving = pair.on("pc-a", "systemctl", "show", "--property=MainPID", "openclaw-gateway").stdout
    before = kept(pair)
    for node in NODES:
        pair.on(node, "sh", "-c", "test ! -e /dev/watchdog")  # a real one must not be touched
        pair.on(node, "touch", "/dev/watchdog")
    try:
        ran("site.yml", "--tags", "guard", "--extra-vars", '{"guard_hardware_watchdog_seconds": 4}')
        assert kept(pair) == ["4s", "4s"]
    finally:
        ran("site.yml", "--tags", "guard")
        for node in NODES:
            pair.on(node, "rm", "/dev/watchdog")
    assert kept(pair) == before
    assert pair.on("pc-a", "systemctl", "show", "--property=MainPID", "openclaw-gateway").stdout == serving
