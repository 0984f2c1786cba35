"""`dualjoe doctor` on T440 finds faults that are really there.

Each fault is planted and undone. What the lab's containers always lack (a time server, a drill that was made) is taken
as it is before the fault.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from pair import wait_until

if TYPE_CHECKING:
    from pair import Pair

testinfra_hosts = ["docker://t440"]

# Of each: the machine, how it is planted and undone there, and what is said of it.
FAULTS = {
    "a key that all may read": (
        "t440",
        "chmod 0644 /etc/dualjoe/keys/restore",
        "chmod 0600 /etc/dualjoe/keys/restore",
        "its mode is 0644",
    ),
    "a key of another user": (
        "t440",
        "chown root:root /etc/dualjoe/keys/witness",
        "chown dualjoe:dualjoe /etc/dualjoe/keys/witness",
        "belongs to root:root",
    ),
    "a key that is gone": (
        "t440",
        "mv /etc/dualjoe/keys/restore /root/k",
        "mv /root/k /etc/dualjoe/keys/restore",
        "keys/restore is missing",
    ),
    "cron stopped on T440": ("t440", "systemctl stop cron", "systemctl start cron", "cron.service does not run"),
    "a unit that does not return": (
        "t440",
        "systemctl disable cron",
        "systemctl enable cron",
        "would not run after T440's next boot",
    ),
    "Docker stopped": (
        "t440",
        "systemctl stop docker docker.socket",
        "systemctl start docker",
        "docker.service does not run",
    ),
    "a cron file that was removed": (
        "t440",
        "mv /etc/cron.d/dualjoe-drill /root/c",
        "mv /root/c /etc/cron.d/dualjoe-drill",
        "dualjoe-drill is missing",
    ),
    "a host key that is not pinned": (
        "t440",
        "cp -p /etc/dualjoe/known_hosts /root/h && : > /etc/dualjoe/known_hosts",
        "cat /root/h > /etc/dualjoe/known_hosts",
        "No host key of pc-a",
    ),
    "a key that a node no longer takes": (
        "pc-b",
        "mv /var/lib/dualjoe/.ssh/authorized_keys /root/a",
        "mv /root/a /var/lib/dualjoe/.ssh/authorized_keys",
        "does not take the watchdog's key",
    ),
    "a port that is closed": ("pc-b", "systemctl stop ssh", "systemctl start ssh", "nothing listens at port"),
    "a guard that does not answer": (
        "pc-b",
        "systemctl stop dualjoe-guard",
        "systemctl start dualjoe-guard",
        "does not answer as a guard does",
    ),
    "a package of another version": (
        "t440",
        "sed -i.bak 's/^rich==[^ ]*/rich==1.0.0/' /opt/dualjoe/watchdog-requirements.txt",
        "mv /opt/dualjoe/watchdog-requirements.txt.bak /opt/dualjoe/watchdog-requirements.txt",
        "not 1.0.0",
    ),
    "a watchdog of before an upgrade": (
        "t440",
        "echo '# newer' >> /usr/local/lib/dualjoe/dualjoe/leap.py",
        "sed -i '$d' /usr/local/lib/dualjoe/dualjoe/leap.py",
        "other code than is installed",
    ),
    "a mistake in the settings": (
        "t440",
        'cp -p /etc/dualjoe/watchdog.json /root/w && sed -i \'s/"ttl": 30/"ttl": 3/\' /etc/dualjoe/watchdog.json',
        "cat /root/w > /etc/dualjoe/watchdog.json",
        "settings cannot be used",
    ),
    "a watchdog that is down": (
        "t440",
        "systemctl stop dualjoe-watchdog",
        "systemctl start dualjoe-watchdog",
        "dualjoe-watchdog.service does not run",
    ),
    "observe mode that was forgotten": ("t440", "dualjoe observe on", "dualjoe observe off", "only observes"),
}


def said(pair: Pair) -> list[str]:
    shown = pair.on("t440", "dualjoe", "doctor", "--json", check=False).stdout
    examined: dict[str, Any] = json.loads(shown)["examined"]
    return [finding["what"] for findings in examined.values() for finding in findings or []]


@pytest.mark.parametrize("fault", FAULTS)
def test_doctor_finds_a_fault_that_is_really_there(pair: Pair, fault: str) -> None:
    machine, plant, undo, told = FAULTS[fault]
    assert not any(told in what for what in said(pair))
    pair.on(machine, "sh", "-c", plant)
    try:
        assert any(told in what for what in said(pair))
    finally:
        pair.on(machine, "sh", "-c", undo)
    wait_until(lambda: not any(told in what for what in said(pair)), f"the end of {fault} is seen", 120)
