"""What T440 looks at after a move, and that no move waits for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pair import playbook, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pair import Pair

testinfra_hosts = ["docker://t440"]

UNIT = "dualjoe-converge.service"
SHIPPED = "/usr/local/share/dualjoe/collections"
HANGING = "/run/hanging-collections"
SEEN = "/var/lib/dualjoe/converge/seen"
DROP_IN = f"/run/systemd/system/{UNIT}.d/hanging.conf"
PLAY = """
- hosts: witness
  gather_facts: false
  tasks:
    - name: Hang
      ansible.builtin.shell: |
        trap '' INT TERM
        cat /etc/dualjoe/keys/witness /etc/dualjoe/telegram.token /proc/net/dev > SEEN 2>&1
        setsid --fork sh -c 'trap "" INT TERM; while :; do sleep 86399; done'
        while :; do sleep 86399; done
"""
SETTING = f"""
[Service]
ExecStart=
ExecStart=/usr/local/bin/dualjoe-converge --collections={HANGING}
"""


@pytest.fixture
def hanging(pair: Pair) -> Iterator[None]:
    """On T440, a failover.yml that does not end, also when it is asked to."""
    pair.on("t440", "cp", "--archive", SHIPPED, HANGING)
    play = f"{HANGING}/ansible_collections/dualjoe/ha/playbooks/failover.yml"
    pair.on("t440", "sh", "-c", f"cat > {play} <<'END'{PLAY.replace('SEEN', SEEN)}END")
    pair.on("t440", "sh", "-c", f"mkdir -p $(dirname {DROP_IN}) && cat > {DROP_IN} <<'END'{SETTING}END")
    pair.on("t440", "systemctl", "daemon-reload")
    yield
    pair.on("t440", "rm", "--recursive", "--force", DROP_IN, HANGING, SEEN)
    pair.on("t440", "systemctl", "stop", UNIT)
    pair.on("t440", "systemctl", "daemon-reload")


def told(pair: Pair, kind: str, node: str, epoch: int) -> list[dict[str, Any]]:
    """What the runs after the moves of this test have told."""
    found = [event for event in pair.timeline() if (event["kind"], event["node"]) == (kind, node)]
    return [event["data"] for event in found if event["data"]["epoch"] > epoch]


def hung(host: Any) -> list[str]:
    """What runs of the task that hangs. The brackets keep the search from finding itself."""
    found: list[str] = host.run("pgrep --full '[s]leep 86399'").stdout.split()
    return found


def move(name: str) -> None:
    done = playbook(name)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.usefixtures("hanging")
def test_a_run_that_hangs_holds_no_move_up_and_nothing_of_it_is_left(pair: Pair, host: Any) -> None:
    wait_until(lambda: pair.gateway_ready("pc-a"), "PC-A's gateway is ready", 240)
    epoch = pair.status("t440")["epoch"]
    move("failover.yml")
    wait_until(lambda: len(hung(host)) >= 2, "the run hangs", 60)

    move("failback.yml")
    assert pair.gateway_ready("pc-a")
    wait_until(lambda: bool(told(pair, "converge_canceled", "pc-b", epoch)), "the run gives way", 30)
    wait_until(lambda: bool(told(pair, "converge_done", "pc-a", epoch)), "the next run is done", 60)
    assert hung(host) == []
    assert told(pair, "converge_failed", "pc-b", epoch) == []


@pytest.mark.usefixtures("hanging")
def test_the_run_has_no_keys_and_no_network(pair: Pair, host: Any) -> None:
    wait_until(lambda: pair.gateway_ready("pc-a"), "PC-A's gateway is ready", 240)
    move("failover.yml")
    wait_until(lambda: len(hung(host)) >= 2, "the run hangs", 60)
    seen = host.check_output(f"cat {SEEN}")
    assert host.file("/etc/dualjoe/keys/witness").exists
    assert host.file("/etc/dualjoe/telegram.token").exists
    for hidden in ("keys/witness", "telegram.token"):
        assert f"cat: /etc/dualjoe/{hidden}: " in seen
    assert [line.split(":")[0].strip() for line in seen.splitlines() if " 0 " in line] == ["lo"]
    host.check_output(f"systemctl stop {UNIT}")
    assert hung(host) == []
    move("failback.yml")


def test_the_pair_is_looked_at_by_hand_and_nothing_changes() -> None:
    done = playbook("playbooks/after_move.yml", "--extra-vars", "switchover_to=primary")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Joe serves on pc-a" in done.stdout
    assert "changed=0" in done.stdout


def test_a_node_that_joe_is_not_on_is_named() -> None:
    done = playbook("playbooks/after_move.yml", "--extra-vars", "switchover_to=standby")
    assert done.returncode != 0
    assert "the lease is not pc-b's but pc-a's" in done.stdout
