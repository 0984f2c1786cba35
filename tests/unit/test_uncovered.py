"""What nobody thought of is found; what is saved, or left out on purpose, is not."""

from __future__ import annotations

from collections.abc import Mapping
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
        (entry("redis"), ["/srv/app"]),
        (entry("redis", path="/data/cache/dump.rdb"), ["/srv/app", "data"]),
        (entry("postgres", database="x"), ["/srv/app", "cache", "data"]),
        (entry("mongodb", database="x"), ["/srv/app", "cache", "data (all but /data/db, /data/configdb)"]),
        (entry("mongodb", database="x", volumes=["data"]), ["/srv/app", "cache"]),
        (entry("files", path="/data"), ["/srv/app", "cache"]),
        (entry("files", path="/data/sub"), ["/srv/app", "cache", "data (all but /data/sub)"]),
        (entry("files", path="/data/cache"), ["/srv/app", "data"]),
        (entry("files", path="/data", volumes=["cache"], binds=["/srv/app"]), []),
        (entry("sqlite", path="/data"), ["/srv/app", "cache", "data (all but /data)"]),
        (entry("sqlite", path="/app/db.sqlite"), ["/srv/app (all but /app/db.sqlite)", "cache", "data"]),
        (entry("sqlite", path="/app/db.sqlite", binds=["/srv/app"]), ["cache", "data"]),
        (entry("none", volumes=["data"]), ["/srv/app", "cache"]),
        (entry("none", compose=["/srv/app/compose.yml"]), ["/srv/app", "cache", "data"]),
    ],
)
def test_an_entry_covers_what_it_saves(item: dict[str, Any], left: list[str]) -> None:
    assert uncovered([BOX], VOLUMES, [item], [], more) == {"containers": [], "volumes": left}


def more(mount: Mount, item: Mapping[str, Any]) -> bool:
    """There is something beside what is saved."""
    return True


@pytest.mark.parametrize(
    "item", [entry("files", path="/data/sub"), entry("sqlite", path="/data"), entry("mongodb", database="x")]
)
def test_where_nothing_lies_beside_what_is_saved_all_is_covered(item: dict[str, Any]) -> None:
    box = Found("box", (DATA,))
    assert uncovered([box], VOLUMES[:1], [item], [], lambda mount, item: False)["volumes"] == []


@pytest.mark.parametrize(
    ("hook", "inside"),
    [
        ("postgres", "/var/lib/postgresql/data"),
        ("postgres", "/var/lib/postgresql"),
        ("mariadb", "/var/lib/mysql"),
        ("mysql", "/bitnami/mysql"),
        ("mongodb", "/data/db"),
        ("mongodb", "/data/configdb"),
    ],
)
def test_a_server_s_dump_covers_where_it_keeps_its_data(hook: str, inside: str) -> None:
    box = Found("box", (Mount("x", inside), Mount("y", "/uploads")))
    assert uncovered([box], ["x", "y"], [entry(hook, database="x")], [], more)["volumes"] == ["y"]


def test_a_volume_that_two_save_in_part_is_told_once_and_one_that_another_saves_is_not() -> None:
    other = Found("other", (Mount("data", "/elsewhere"),))
    items = [entry("files", path="/data/a"), {"name": "other", "hook": "files", "path": "/elsewhere/b"}]
    found = [Found("box", (DATA,)), other]
    assert uncovered(found, ["data"], items, [], more)["volumes"] == ["data (all but /data/a, /elsewhere/b)"]
    items[1]["path"] = "/elsewhere"
    assert uncovered(found, ["data"], items, [], more)["volumes"] == []


def test_the_rest_of_a_volume_is_left_out_on_purpose_also_where_a_container_has_its_name() -> None:
    box = Found("data", (DATA, CACHE))
    items = [{"name": "data", "hook": "sqlite", "path": "/data/notes.sqlite"}]
    assert uncovered([box], VOLUMES, items, ["data"], more)["volumes"] == ["cache"]


def test_a_forgotten_container_is_told_with_what_it_writes_to() -> None:
    found = uncovered([BOX], VOLUMES, [], [], more)
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
    assert uncovered([BOX], VOLUMES, [], ignored, more) == {"containers": containers, "volumes": volumes}


def test_a_volume_that_nobody_mounts_is_told_unless_it_has_no_name() -> None:
    assert uncovered([], ["spare", NAMELESS.name], [], [], more)["volumes"] == ["spare"]


def test_a_nameless_volume_in_use_is_told() -> None:
    assert uncovered([Found("box", (NAMELESS,))], [NAMELESS.name], [], ["data"], more)["volumes"] == [NAMELESS.name]


def test_a_shared_volume_is_covered_by_any_entry() -> None:
    other = Found("other", (Mount("data", "/elsewhere"),))
    items = [entry("files", path="/data", volumes=["cache"]), {"name": "other", "hook": "none", "compose": ["/x"]}]
    assert uncovered([Found("box", (DATA, CACHE)), other], VOLUMES, items, [], more) == {
        "containers": [],
        "volumes": [],
    }


def test_a_volume_that_is_only_read_counts_where_it_is_saved() -> None:
    reader = Found("box", (Mount("data", "/data", writable=False),))
    assert uncovered([reader], ["data"], [entry("files", path="/data")], [], more)["volumes"] == []
    assert uncovered([reader], ["data"], [], [], more)["volumes"] == ["data"]


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
