"""What several files of tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from memory_pair import Pair


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """The commands set their own, as each has a process to itself elsewhere: no test gets that of the one before."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pair:
    """Two nodes with a memory; their jobs find the pair's own ssh."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return Pair(tmp_path)
