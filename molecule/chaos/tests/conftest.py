"""The lab with its observers, and the table of what the faults came to."""

from __future__ import annotations

import statistics
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from chaos import NODES, Lab, Round
from pair import Service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pair import Pair, Sampler


ROUNDS = pytest.StashKey[list[Round]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROUNDS] = []


@pytest.fixture(scope="session")
def lab(pair: Pair, sampler: Sampler) -> Iterator[Lab]:
    service = Service(pair.openclaw_port)
    with ThreadPoolExecutor(max_workers=len(NODES)) as pool:
        asking = [pool.submit(service.watch, node) for node in NODES]
        yield Lab(pair, sampler, service)
        service.stop()
        for each in asking:
            each.result(timeout=30)


@pytest.fixture
def rounds(pytestconfig: pytest.Config) -> list[Round]:
    return pytestconfig.stash[ROUNDS]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What each fault came to, over all its rounds."""
    done = config.stash[ROUNDS]
    if not done:
        return
    names = list(dict.fromkeys(round_.fault for round_ in done))
    width = max(len(name) for name in names)
    terminalreporter.section("faults")
    terminalreporter.line(f"{'':{width}}                 seconds without service   two-active")
    terminalreporter.line(f"{'fault':{width}}  rounds  outcome  median     max   bound      samples")
    for name in names:
        of_it = [round_ for round_ in done if round_.fault == name]
        without = [round_.without for round_ in of_it]
        failed = sum(bool(round_.mistakes) for round_ in of_it)
        outcome = f"{failed} failed" if failed else "held"
        both = sum(round_.both for round_ in of_it)
        terminalreporter.line(
            f"{name:{width}}  {len(of_it):6}  {outcome:8} {statistics.median(without):6.1f}  {max(without):6.1f}"
            f"  {of_it[0].bound:6.1f}  {both:11}"
        )
