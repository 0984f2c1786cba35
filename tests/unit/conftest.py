"""What several files of tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from memory_pair import Pair


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pair:
    """Two nodes with a memory; their jobs find the pair's own ssh."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return Pair(tmp_path)
