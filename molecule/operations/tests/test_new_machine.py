"""A PC that is gone for good, and both: the steps of docs/operations.md. The tests build on each other."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import yaml
from backups import ran
from pair import ROOT, run, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from pair import Pair

testinfra_hosts = ["docker://t440"]
pytestmark = pytest.mark.story

NODES = ("pc-a", "pc-b")
MACHINES = ("t440", *NODES)
NAME = "20261125T100000Z"  # of a generation: any time that is past
GENERATION = f"/var/lib/dualjoe/memory/generations/{NAME}"
AS_JOE = ("runuser", "-u", "openclaw01", "--")
SET_BY_JOE = """
import json, pathlib
path = pathlib.Path("/srv/openclaw/openclaw.json")
path.write_text(json.dumps(json.loads(path.read_text()) | {"session": {"idle": 7}}))
"""
ACCEPTED = "cat /var/lib/dualjoe/.ssh/authorized_keys /var/lib/dualjoe/backups/.ssh/authorized_keys 2>/dev/null || true"


def lose(*machines: str) -> None:
    run("docker", "rm", "--force", "--volumes", *machines)


def new_machines() -> None:
    """Empty ones at the places of those that are gone."""
    gateway = (ROOT / "lab" / ".state" / "gateway").read_text(encoding="utf-8").strip()
    ran("lab/create.yml", "--skip-tags", "clean", "--extra-vars", f"lab_gateway={gateway}")


def keys(pair: Pair, machine: str) -> set[str]:
    """A machine's own public keys."""
    told = pair.on(machine, "sh", "-c", "cat /etc/dualjoe/keys/*.pub").stdout
    return {line.split()[1] for line in told.splitlines()}


def test_pc_a_is_gone_for_good(pair: Pair) -> None:
    wait_until(lambda: pair.gateway_ready("pc-a"), "PC-A's gateway is ready", 240)
    pair.ask_joe("/remember the geese fly on Tuesday")
    ran("playbooks/sync.yml")
    old = keys(pair, "pc-a")
    assert old
    lose("pc-a")
    wait_until(lambda: pair.gateway_ready("pc-b"), "Joe is on PC-B", 120)
    pair.ask_joe("/remember the ducks came on Friday")

    new_machines()
    ran("site.yml")
    ran("playbooks/rotate.yml", "--extra-vars", "rotate=keys")
    ran("playbooks/sync.yml")
    ran("playbooks/status.yml")
    for machine in MACHINES:
        accepted = pair.on(machine, "sh", "-c", ACCEPTED).stdout
        assert accepted
        assert [key for key in old if key in accepted] == []


def test_joe_goes_home_to_the_new_pc_a_and_remembers_all(pair: Pair) -> None:
    wait_until(lambda: pair.gateway_ready("pc-a"), "Joe is at home", 300)
    assert "ducks" in pair.ask_joe("/recall")
    remembered = pair.on("pc-a", "cat", "/srv/openclaw/workspace/MEMORY.md").stdout
    assert "geese" in remembered
    wait_until(lambda: pair.status("t440")["troubles"] == [], "nothing is wrong", 300)


def notes_folders(pair: Pair) -> None:
    for node, user in (("pc-a", "openclaw01"), ("pc-b", "openclaw02")):
        pair.on(node, "install", "-d", "-o", user, "/srv/notes")


def test_both_pcs_are_gone(pair: Pair, tmp_path: Path) -> None:
    defaults = yaml.safe_load((ROOT / "roles/memory_sync/defaults/main.yml").read_text(encoding="utf-8"))
    sets = [*defaults["memory_sync_sets"], {"name": "notes", "path": "/srv/notes", "include": ["**"]}]
    own = tmp_path / "own.yml"
    own.write_text(yaml.safe_dump({"memory_sync_sets": sets}))
    with_notes = ("--extra-vars", f"@{own}")
    notes_folders(pair)
    ran("site.yml", "--tags", "memory_sync", *with_notes)
    pair.on("pc-a", *AS_JOE, "python3", "-c", SET_BY_JOE)
    pair.on("pc-a", *AS_JOE, "sh", "-c", "echo eleven > /srv/notes/geese.md")
    ran("playbooks/sync.yml")
    saved = tmp_path / "memory.tar"
    archive = ("tar", "--create", "--file", "/root/memory.tar", "--directory", "/var/lib/dualjoe/memory/current/", ".")
    pair.on("pc-b", *archive)
    run("docker", "cp", "pc-b:/root/memory.tar", str(saved))
    lose("pc-a", "pc-b")

    new_machines()
    ran("site.yml", *with_notes)
    notes_folders(pair)
    wait_until(lambda: pair.gateway_ready("pc-a"), "an empty Joe is at home", 240)
    run("docker", "cp", str(saved), "pc-a:/root/memory.tar")
    pair.on("pc-a", *AS_JOE, "mkdir", "-p", GENERATION, "/var/lib/dualjoe/config/good")
    extract = f"runuser -u openclaw01 -- tar --extract --file - --directory {GENERATION} < /root/memory.tar"
    pair.on("pc-a", "sh", "-c", extract)
    pair.on("pc-a", *AS_JOE, "cp", f"{GENERATION}/config/openclaw.json", f"/var/lib/dualjoe/config/good/{NAME}")
    pair.on("pc-a", *AS_JOE, "dualjoe", "config", "rollback", NAME)
    pair.on("pc-a", *AS_JOE, "dualjoe", "memory", "restore", NAME)
    pair.on("pc-a", "systemctl", "restart", "dualjoe-guard")
    geese = ("cat", "/srv/notes/geese.md")
    wait_until(lambda: pair.on("pc-a", *geese, check=False).stdout == "eleven\n", "the memory is restored", 120)
    wait_until(lambda: pair.gateway_ready("pc-a"), "Joe is at home", 120)
    assert "ducks" in pair.ask_joe("/recall")
    remembered = pair.on("pc-a", "cat", "/srv/openclaw/workspace/MEMORY.md").stdout
    assert "geese" in remembered
    ran("playbooks/sync.yml")
    ran("playbooks/validate.yml")
    for node in NODES:
        config = json.loads(pair.on(node, "cat", "/srv/openclaw/openclaw.json").stdout)
        assert config["session"] == {"idle": 7}
        assert pair.on(node, *geese).stdout == "eleven\n"
        there = set(pair.on(node, "ls", "-A", "/srv/openclaw").stdout.split())
        assert not there & {"manifest.json", "meta.json", "config"}, "a generation is not unpacked into his folder"
    wait_until(lambda: pair.status("t440")["troubles"] == [], "nothing is wrong", 300)
    ran("site.yml", "--tags", "memory_sync")  # for the tests that follow
    ran("playbooks/sync.yml")
