"""The lab with its observers, and the table of what the faults came to."""

from __future__ import annotations

import statistics
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from chaos import NODES, Lab, Round
from pair import RESUME_SECONDS, Service

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
    terminalreporter.line("Seconds without service; samples that saw two gateways; and seconds, by the journals, for")
    terminalreporter.line(f"which one that was frozen went on after its thaw (at most {RESUME_SECONDS} s are allowed)")
    terminalreporter.line(f"{'':{width}} rounds outcome  median    max  bound  two  after a thaw")
    for name in names:
        of_it = [round_ for round_ in done if round_.fault == name]
        without = [round_.without for round_ in of_it]
        failed = sum(bool(round_.mistakes) for round_ in of_it)
        outcome = f"{failed} failed" if failed else "held"
        figures = " ".join(f"{figure:6.1f}" for figure in (statistics.median(without), max(without), of_it[0].bound))
        two, resumed = sum(round_.both for round_ in of_it), max(round_.resumed for round_ in of_it)
        after = f"{resumed:.3f}" if resumed else ""
        terminalreporter.line(f"{name:{width}} {len(of_it):6} {outcome:8} {figures} {two:4}  {after}".rstrip())
