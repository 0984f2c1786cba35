"""What the scenarios' tests share: the lab's machines, seen from outside."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from node import Node
from pair import Pair, Sampler

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

FAILED = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "story: the module's tests build on each other; after one that fails, none runs")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and item.parent is not None and item.get_closest_marker("story"):
        item.parent.stash.setdefault(FAILED, item.name)
    return report


def pytest_runtest_setup(item: pytest.Item) -> None:
    failed = item.parent.stash.get(FAILED, None) if item.parent is not None else None
    if failed:
        pytest.skip(f"the story ended at {failed}")


@pytest.fixture(scope="session")
def pair() -> Pair:
    return Pair.of_the_lab()


@pytest.fixture(scope="session")
def pc_a(pair: Pair) -> Node:
    return Node.of_the_lab(pair, "pc-a")


@pytest.fixture(scope="session")
def pc_b(pair: Pair) -> Node:
    return Node.of_the_lab(pair, "pc-b")


@pytest.fixture(scope="session")
def sampler() -> Iterator[Sampler]:
    """A sampler that runs beside all tests of the session."""
    watcher = Sampler()
    with ThreadPoolExecutor(max_workers=1) as pool:
        watching = pool.submit(watcher.watch)
        yield watcher
        watcher.stop()
        watching.result(timeout=30)
