"""New keys, a new OpenClaw, and Dual-Joe taken off and put on again. The tests build on each other."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import yaml
from pair import ROOT, playbook, recap, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pair import Pair, Sampler

testinfra_hosts = ["docker://t440"]
pytestmark = pytest.mark.story

MACHINES = ("t440", "pc-a", "pc-b")
OLD = "2026.8.1"
NEW = yaml.safe_load((ROOT / "roles/openclaw/defaults/main.yml").read_text())["openclaw_version"]
NODE = yaml.safe_load((ROOT / "roles/openclaw/defaults/main.yml").read_text())["openclaw_node_version"]
# Two releases of OpenClaw, which are the stand-in, and a Node that runs them; the old one is in use.
RELEASES = f"""
set -e
cd /opt/openclaw
mkdir -p node-{NODE}/nodejs/bin
printf '#!/bin/sh\\nexec /usr/bin/python3 "$@"\\n' > node-{NODE}/nodejs/bin/node
chmod 0755 node-{NODE}/nodejs/bin/node
touch node-{NODE}/.complete
for version in {OLD} {NEW}; do
  mkdir -p releases/$version/node_modules/openclaw
  sed "s/^VERSION = .*/VERSION = '$version'/; s/(stand-in)/(version $version)/" bin/openclaw \\
    > releases/$version/node_modules/openclaw/openclaw.mjs
done
printf '#!/bin/sh\\nexec %s %s "$@"\\n' /opt/openclaw/node-{NODE}/nodejs/bin/node \\
  /opt/openclaw/releases/{OLD}/node_modules/openclaw/openclaw.mjs > bin/launcher
chmod 0755 bin/launcher
mv bin/launcher bin/openclaw
"""
RELEASE = f"/opt/openclaw/releases/{NEW}/node_modules/openclaw/openclaw.mjs"
UPGRADE = ("playbooks/upgrade.yml", "--extra-vars", '{"openclaw_install": true}')
OURS = (
    r"find / -xdev \( -path /proc -o -path /sys -o -path /var/log -o -path /var/lib/dualjoe -o -path /tmp \) -prune"
    " -o -name '*dualjoe*' -print"
)

SAVED = "cd /var/lib/dualjoe && find memory/generations backups/snapshots -type f -not -path '*/.*'"


def root(pair: Pair, machine: str, script: str, *, check: bool = True) -> str:
    return pair.on(machine, "sh", "-c", script, check=check).stdout


def public_keys(pair: Pair) -> dict[str, str]:
    """Each machine's own public keys, by machine and purpose."""
    told = {machine: root(pair, machine, "cd /etc/dualjoe/keys && grep . *.pub") for machine in MACHINES}
    lines = [(machine, *line.split(":", 1)) for machine, text in told.items() for line in text.splitlines()]
    return {f"{machine} {name}": key.split()[1] for machine, name, key in lines}


def accepted(pair: Pair, machine: str) -> list[str]:
    return root(pair, machine, "cat /var/lib/dualjoe/.ssh/authorized_keys /var/lib/dualjoe/backups/.ssh/authorized_keys"
                " /home/*/.ssh/authorized_keys 2>/dev/null || true").splitlines()  # fmt: skip


@pytest.fixture(autouse=True)
def _one_joe(pair: Pair, sampler: Sampler) -> Iterator[None]:
    wait_until(lambda: pair.gateway_ready("pc-a"), "PC-A's gateway is ready", 240)
    yield
    assert sampler.overlaps == []


def test_new_keys_for_each_purpose(pair: Pair) -> None:
    before = public_keys(pair)
    done = playbook("playbooks/rotate.yml", "--check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert public_keys(pair) == before, "check mode only says what would happen"

    left = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl dualjoe witness t440"
    root(pair, "pc-a", f"echo 'restrict {left}' >> /var/lib/dualjoe/.ssh/authorized_keys")  # by a run that was cut off
    done = playbook("playbooks/rotate.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    after = public_keys(pair)
    assert after.keys() == before.keys()
    assert not set(after.values()) & set(before.values())
    for machine in MACHINES:
        entries = [line for line in accepted(pair, machine) if "dualjoe-" in line or " dualjoe " in line]
        assert entries
        assert [line for line in entries if not any(key in line for key in after.values())] == []
        assert root(pair, machine, "ls /etc/dualjoe/keys/*.new* 2>/dev/null || true") == ""


def test_all_jobs_go_on_with_the_new_keys(pair: Pair) -> None:
    for name in ("sync", "backup", "after_move"):
        done = playbook(f"playbooks/{name}.yml")
        assert done.returncode == 0, done.stdout + done.stderr
    pair.on("t440", "systemctl", "restart", "dualjoe-watchdog")  # its connection was made with the old key
    wait_until(lambda: all(node["heard"] for node in pair.status("t440")["nodes"].values()), "both nodes are heard", 60)
    assert sum(counts["changed"] for counts in recap(playbook("site.yml").stdout).values()) == 0


def test_site_yml_leaves_joe_the_version_that_he_has(pair: Pair) -> None:
    for node in ("pc-a", "pc-b"):
        root(pair, node, RELEASES)
    serving = pair.on("pc-a", "systemctl", "show", "--property=MainPID", "openclaw-gateway").stdout
    done = playbook("site.yml", "--extra-vars", '{"openclaw_install": true}')
    assert done.returncode == 0, done.stdout + done.stderr
    assert sum(counts["changed"] for counts in recap(done.stdout).values()) == 0
    assert " ".join(done.stdout.split()).count(f"Joe stays with OpenClaw {OLD}; {NEW} is installed beside it") == 2
    for node in ("pc-a", "pc-b"):
        assert f"/opt/openclaw/releases/{OLD}/" in root(pair, node, "cat /opt/openclaw/bin/openclaw")
        assert root(pair, node, "ls /opt/openclaw/releases").split() == [OLD, NEW]
        assert root(pair, node, "ls /opt/openclaw/bin").split() == ["openclaw"]
    assert pair.on("pc-a", "systemctl", "show", "--property=MainPID", "openclaw-gateway").stdout == serving


def test_a_version_that_does_not_start_is_taken_back(pair: Pair) -> None:
    root(pair, "pc-b", f"cp {RELEASE} {RELEASE}.good && echo 'import sys; sys.exit(1)' > {RELEASE}")
    plan = playbook(*UPGRADE, "--check")
    assert plan.returncode == 0, plan.stdout + plan.stderr
    assert f"pc-b comes first: {OLD} -> {NEW}" in plan.stdout
    assert f"pc-a serves: {OLD} -> {NEW}" in plan.stdout

    serving = pair.on("pc-a", "systemctl", "show", "--property=MainPID", "openclaw-gateway").stdout
    done = playbook(*UPGRADE)
    assert done.returncode != 0
    assert "The new version was taken back on pc-b, and Joe was not moved to it" in " ".join(done.stdout.split())
    assert OLD in root(pair, "pc-b", "cat /opt/openclaw/bin/openclaw")
    assert pair.on("pc-a", "systemctl", "show", "--property=MainPID", "openclaw-gateway").stdout == serving
    root(pair, "pc-b", f"mv {RELEASE}.good {RELEASE}")


def test_a_new_openclaw_on_both_nodes(pair: Pair) -> None:
    done = playbook(*UPGRADE)
    assert done.returncode == 0, done.stdout + done.stderr
    for node in ("pc-a", "pc-b"):
        assert NEW in root(pair, node, "cat /opt/openclaw/bin/openclaw")
    wait_until(lambda: pair.gateway_ready("pc-a"), "Joe is back where he was", 60)
    assert f"(version {NEW}) on pc-a" in pair.ask_joe("/status")
    again = playbook(*UPGRADE)
    assert again.returncode == 0, again.stdout + again.stderr
    assert sum(counts["changed"] for counts in recap(again.stdout).values()) == 0


def test_dual_joe_is_taken_off_and_joe_goes_on(pair: Pair) -> None:
    assert "(version" in pair.ask_joe("/status")
    pair.ask_joe("/remember the geese come back in March")
    refused = playbook("playbooks/uninstall.yml")
    assert refused.returncode != 0
    assert "Nothing was changed" in refused.stdout
    looked = playbook("playbooks/uninstall.yml", "--check")
    assert looked.returncode == 0, looked.stdout + looked.stderr
    assert pair.gateway_ready("pc-a")
    pair.on("pc-a", "systemctl", "is-active", "dualjoe-guard")

    kept = set(root(pair, "pc-b", SAVED).splitlines())
    assert kept
    done = playbook("playbooks/uninstall.yml", "--extra-vars", "uninstall=yes")
    assert done.returncode == 0, done.stdout + done.stderr
    for machine in MACHINES:
        assert root(pair, machine, OURS) == "", machine
        assert set(root(pair, machine, "ls -A /var/lib/dualjoe").split()) <= {"memory", "config", "backups", "restore"}
        assert root(pair, machine, "getent passwd | grep dualjoe; getent group | grep dualjoe", check=False) == ""
        assert root(pair, machine, "systemctl --failed --no-legend --plain") == ""
        assert "dualjoe" not in root(pair, machine, "cat /home/*/.ssh/authorized_keys 2>/dev/null || true")
    assert kept <= set(root(pair, "pc-b", SAVED).splitlines()), "what was saved stays"
    assert pair.gateway_ready("pc-a")
    assert root(pair, "pc-a", "systemctl is-enabled openclaw-gateway").strip() == "enabled"
    assert not pair.gateway_runs("pc-b")
    assert "geese" in pair.ask_joe("/recall")
    assert re.search("t440|postgres", root(pair, "t440", "docker ps --format '{{.Names}}'")), "T440's containers go on"


def test_and_put_on_again(pair: Pair) -> None:
    """An OpenClaw that is there already, with its memory, is taken over as it is."""
    done = playbook("site.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    wait_until(lambda: pair.gateway_ready("pc-a"), "Joe serves at home", 240)
    assert "geese" in pair.ask_joe("/recall")
    assert root(pair, "pc-a", "systemctl is-enabled openclaw-gateway", check=False).strip() != "enabled"
