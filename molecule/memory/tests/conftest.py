"""Each file of tests begins in good times."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import spare
from pair import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from node import Node
    from pair import Pair, Sampler

HOME_SECONDS = 300  # a first start of the real OpenClaw on a busy computer


@pytest.fixture(scope="module", autouse=True)
def _joe_is_home(pair: Pair) -> None:
    """Joe serves on PC-A, PC-B is well, and T440 knows. A story that failed may have left machines switched off."""
    for machine in ("t440", "pc-a", "pc-b"):
        pair.start(machine)

    def home() -> bool:
        seen = pair.status("t440")
        return seen["situation"] == "home" and all(node["heard"] for node in seen["nodes"].values())

    wait_until(home, "T440 says that Joe is home", HOME_SECONDS)
    wait_until(lambda: pair.gateway_ready("pc-a"), "PC-A's gateway is ready", HOME_SECONDS)


@pytest.fixture(scope="session", autouse=True)
def _watched(sampler: Sampler) -> None:
    """Look for two gateways from the first test to the last."""


@pytest.fixture(scope="module")
def other(pair: Pair, pc_a: Node, pc_b: Node) -> Iterator[tuple[Node, ...]]:
    """Both nodes, whose memory jobs have another memory than Joe's. He stays where he is, also on a busy computer."""
    pause = ("dualjoe", "pause", "--for", "30m", "--reason", "harm to a memory that is not Joe's")
    # It is refused while a check is missed.
    wait_until(lambda: pair.on("t440", *pause, check=False).returncode == 0, "the pair is paused", 60)
    try:
        with spare.other_memory(pc_a, pc_b) as nodes:
            yield nodes
    finally:
        pair.on("t440", "dualjoe", "resume")


@pytest.fixture
def a(other: tuple[Node, ...]) -> Node:
    """PC-A with good memory, which PC-B has as well."""
    spare.make_good(*other)
    return other[0]


@pytest.fixture
def b(other: tuple[Node, ...]) -> Node:
    return other[1]
