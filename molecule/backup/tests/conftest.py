"""The lab with a load on T440's containers, and no backup but those that the tests ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from backups import Backups
from load import Load

if TYPE_CHECKING:
    from pair import Pair


@pytest.fixture(scope="session")
def load() -> Load:
    return Load()


@pytest.fixture(scope="session")
def backups(pair: Pair) -> Backups:
    return Backups(pair)


@pytest.fixture(scope="module", autouse=True)
def _all_are_there(backups: Backups) -> None:
    """A story that failed may have left machines switched off."""
    backups.whole()
