"""What the scenarios' tests share: the lab's machines, seen from outside."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from pair import Pair, Sampler

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def pair() -> Pair:
    return Pair.of_the_lab()


@pytest.fixture(scope="session")
def sampler() -> Iterator[Sampler]:
    """A sampler that runs beside all tests of the session."""
    watcher = Sampler()
    with ThreadPoolExecutor(max_workers=1) as pool:
        watching = pool.submit(watcher.watch)
        yield watcher
        watcher.stop()
        watching.result(timeout=30)
