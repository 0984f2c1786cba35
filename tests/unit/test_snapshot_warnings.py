"""What a snapshot that was made well warns of."""

from __future__ import annotations

import pytest
from dualjoe.snapshot_warnings import Size, dropped, found, sizes
from dualjoe.snapshots import Part, Snapshot

AT = "2026-11-25T21:00:00Z"


def snapshot(unsteady: tuple[str, ...] = (), **held: Size) -> Snapshot:
    return Snapshot(AT, {name: Part("files", *held[name], (1, ""), AT, unsteady) for name in held})


@pytest.mark.parametrize(
    ("now", "before", "names"),
    [
        (snapshot(notes=(1, 10)), None, []),
        (snapshot(notes=(5, 50)), snapshot(notes=(10, 100)), []),
        (snapshot(notes=(10, 49)), snapshot(notes=(10, 100)), ["notes"]),
        (snapshot(notes=(4, 100)), snapshot(notes=(10, 100)), ["notes"]),
        (snapshot(notes=(0, 0), web=(1, 1)), snapshot(notes=(9, 9), web=(9, 9)), ["notes", "web"]),
        (snapshot(notes=(1, 1), web=(9, 9)), snapshot(web=(9, 9)), []),  # a new one
        (snapshot(web=(9, 9)), snapshot(notes=(1, 1), web=(9, 9)), []),  # it is missing, if it has an entry
    ],
)
def test_what_has_shrunk(now: Snapshot, before: Snapshot | None, names: list[str]) -> None:
    assert list(dropped(now, sizes(before), 50)) == names


def test_each_kind_says_what_it_is_and_what_to_do() -> None:
    many = [f"volume{number}" for number in range(9)]
    made = Snapshot(AT, snapshot(("log\n",), notes=(1, 1)).containers, {}, {"containers": [], "volumes": many})
    told = found(made, {"notes": "notes has 1 file"})
    assert list(told) == ["dropped", "uncovered-volumes", "unsteady"]
    assert told["dropped"].startswith("notes has 1 file. ")
    assert "dualjoe backup --accept-drop" in told["dropped"]
    wanted = "volumes on T440 that no backup covers: volume0, volume1, volume2, volume3, volume4 and 4 more. "
    assert told["uncovered-volumes"].startswith(wanted)
    assert r"notes: log\n. " in told["unsteady"]
    assert found(snapshot(notes=(1, 1)), {}) == {}


def test_what_the_inventory_has_and_t440_leaves_out_is_missing() -> None:
    made = Snapshot(AT, snapshot(notes=(1, 1), kept=(1, 1)).containers, {"kept": "it hangs", "never": "it hangs"})
    assert found(made, {}, ["notes", "kept", "never"]) == {}
    told = found(made, {}, ["web", "notes", "shop"])
    assert list(told) == ["missing"]
    assert told["missing"].startswith("T440 exports nothing of containers that it is to save: web, shop. Run site.yml;")
