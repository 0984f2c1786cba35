"""The three together."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from pair import wait_until

if TYPE_CHECKING:
    from pair import Pair

testinfra_hosts = ["docker://t440"]

ADDRESSES = {"pc-a": "172.31.213.11", "pc-b": "172.31.213.12"}
SSH = (
    "ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile=/etc/dualjoe/known_hosts"
    " -o IdentitiesOnly=yes -o ConnectTimeout=10 -i /etc/dualjoe/keys/{key} {options} {user}@{address} {command}"
)


def ask(machine: Any, key: str, user: str, address: str, request: str, options: str = "") -> Any:
    command = SSH.format(key=key, user=user, address=address, command="", options=options)
    return machine.run(f"echo '{request}' | timeout 20 {command}")


def test_joe_comes_up_at_home(pair: Pair) -> None:
    wait_until(lambda: pair.gateway_ready("pc-a"), "PC-A's gateway is ready", 240)
    assert not pair.gateway_runs("pc-b")


@pytest.mark.parametrize("node", ["pc-a", "pc-b"])
def test_the_witness_may_probe_and_nothing_else(host: Any, node: str) -> None:
    answer = json.loads(ask(host, "witness", "dualjoe", ADDRESSES[node], '{"v":1,"verb":"probe"}').stdout)
    assert (answer["ok"], answer["node"]) == (True, node)
    shell = host.run(
        SSH.format(key="witness", user="dualjoe", address=ADDRESSES[node], command="id </dev/null", options="")
    )
    assert "uid=" not in shell.stdout


def test_a_node_may_not_grant(host: Any) -> None:
    node = host.get_host("docker://pc-b")
    request = '{"v":1,"verb":"grant","epoch":99,"stamp":"x:1","ttl":30}'
    answer = json.loads(ask(node, "peer", "dualjoe", ADDRESSES["pc-a"], request).stdout)
    assert answer["ok"] is False
    assert json.loads(node.check_output("dualjoe status --json"))["epoch"] < 99


def test_the_witness_key_forwards_no_port(host: Any) -> None:
    refused = ask(host, "witness", "dualjoe", ADDRESSES["pc-a"], "", options="-W 127.0.0.1:18789")
    assert refused.rc != 0


def test_an_alert_arrives(pair: Pair) -> None:
    before = pair.alerts()
    pair.on("t440", "dualjoe", "alert-test")
    wait_until(
        lambda: pair.alerts() != before and any("test" in text.lower() for text in pair.alerts()), "the alert", 30
    )
