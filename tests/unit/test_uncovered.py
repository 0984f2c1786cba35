"""What nobody thought of is found; what is saved, or left out on purpose, is not."""

from __future__ import annotations

from typing import Any

import pytest
from dualjoe.uncovered import Found, Mount, parse, uncovered

DATA = Mount("data", "/data")
CACHE = Mount("cache", "/data/cache")
BOUND = Mount("/srv/app", "/app")
CONFIG = Mount("/etc/app.conf", "/etc/app.conf", writable=False)
NAMELESS = Mount("0123456789abcdef" * 4, "/tmp/x")
BOX = Found("box", (DATA, CACHE, BOUND, CONFIG))
VOLUMES = ["data", "cache"]


def entry(hook: str, **parameters: Any) -> dict[str, Any]:
    return {"name": "box", "hook": hook, **parameters}


@pytest.mark.parametrize(
    ("item", "left"),
    [
        (entry("postgres", database="x"), []),
        (entry("files", path="/data/sub"), ["/srv/app", "cache"]),
        (entry("files", path="/data/cache"), ["/srv/app", "data"]),
        (entry("files", path="/data", volumes=["cache"], binds=["/srv/app"]), []),
        (entry("sqlite", path="/app/db.sqlite"), ["cache", "data"]),
        (entry("none", volumes=["data"]), ["/srv/app", "cache"]),
        (entry("none", compose=["/srv/app/compose.yml"]), ["/srv/app", "cache", "data"]),
    ],
)
def test_an_entry_covers_what_it_saves(item: dict[str, Any], left: list[str]) -> None:
    assert uncovered([BOX], VOLUMES, [item], []) == {"containers": [], "volumes": left}


def test_a_forgotten_container_is_told_with_what_it_writes_to() -> None:
    found = uncovered([BOX], VOLUMES, [], [])
    assert found == {"containers": ["box"], "volumes": ["/srv/app", "cache", "data"]}


@pytest.mark.parametrize(
    ("ignored", "containers", "volumes"),
    [
        (["box"], [], []),
        (["cache"], ["box"], ["/srv/app", "data"]),
        (["box", "spare"], [], []),
        (["/srv/app"], ["box"], ["cache", "data"]),
    ],
)
def test_what_is_left_out_on_purpose_is_not_told(ignored: list[str], containers: list[str], volumes: list[str]) -> None:
    assert uncovered([BOX], VOLUMES, [], ignored) == {"containers": containers, "volumes": volumes}


def test_a_volume_that_nobody_mounts_is_told_unless_it_has_no_name() -> None:
    assert uncovered([], ["spare", NAMELESS.name], [], [])["volumes"] == ["spare"]


def test_a_nameless_volume_in_use_is_told() -> None:
    assert uncovered([Found("box", (NAMELESS,))], [NAMELESS.name], [], ["data"])["volumes"] == [NAMELESS.name]


def test_a_shared_volume_is_covered_by_any_entry() -> None:
    other = Found("other", (Mount("data", "/elsewhere"),))
    items = [entry("files", path="/data", volumes=["cache"]), {"name": "other", "hook": "none", "compose": ["/x"]}]
    assert uncovered([Found("box", (DATA, CACHE)), other], VOLUMES, items, []) == {"containers": [], "volumes": []}


def test_a_volume_that_is_only_read_counts_where_it_is_saved() -> None:
    reader = Found("box", (Mount("data", "/data", writable=False),))
    assert uncovered([reader], ["data"], [entry("files", path="/data")], [])["volumes"] == []
    assert uncovered([reader], ["data"], [], [])["volumes"] == ["data"]


def test_what_docker_says_is_understood() -> None:
    facts = {
        "Name": "/box",
        "Config": {"Labels": None},
        "Mounts": [
            {"Type": "volume", "Name": "data", "Source": "/var/lib/docker/x", "Destination": "/data", "RW": True},
            {"Type": "bind", "Source": "/etc/app.conf", "Destination": "/etc/app.conf", "RW": False},
            {"Type": "tmpfs", "Destination": "/run"},
        ],
    }
    assert parse(facts) == Found("box", (DATA, CONFIG))
    assert parse({**facts, "Config": {"Labels": {"dualjoe.scratch": "drill"}}}) is None
