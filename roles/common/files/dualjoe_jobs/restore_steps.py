"""Bring one container back from what was fetched of it: the same steps in a restore and in a drill."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dualjoe.catalog import CatalogError

from . import restore_hooks, restore_places
from .job import JobFailed
from .restore_box import Box
from .restore_hooks import SERVERS, Load, Server
from .restore_places import Fetched, Place

UNASKED = "nobody has asked it how it is"
_LOADS = 3


@dataclass
class Progress:
    """How far a restore has come. ``stamp`` is that of its safety copy; ``kept``: this is whole, and what is in the
    volumes since then is to be replaced; ``running``: the container ran before; ``half``: the volumes have neither what
    was there nor what comes. ``note`` writes it down."""

    stamp: str
    kept: bool = False
    running: bool = True
    half: bool = False
    note: Callable[[Progress], None] = lambda _progress: None

    def keep(self, kept: bool) -> None:
        """Write down whether the safety copy is whole."""
        self.kept = kept
        self.note(self)


def bring_back(
    box: Box,
    fetched: Fetched,
    progress: Progress,
    safety: Path | None,
    spare: Path,
    dump_safety: bool = True,
) -> list[str]:
    """Put files in place, load dumps, start it, and ask it. Returns what was found, for people. Raises JobFailed.

    Until the files are in place a failure puts back what was there, from ``safety``, and the container runs as before;
    one of a dump puts its database back. ``spare``: a folder for what cannot lie beside its volume. Without
    ``dump_safety`` a database is replaced without a dump of what is there.
    """
    try:
        prepared = restore_places.places(box, fetched, safety, spare)
        try:
            files = sum(place.prepare() for place in prepared)
            if prepared:
                _exchange(box, prepared, progress)
        finally:
            restore_places.clear(prepared)
        box.start()
        told = [f"files in place: {files}"] if prepared else []
        if fetched.hook in SERVERS:
            told = [
                *told,
                _load(SERVERS[fetched.hook], Load(box, fetched, progress.stamp, safety if dump_safety else None)),
            ]
    except (OSError, CatalogError) as error:
        raise JobFailed(f"{error}") from error
    return told


def look(box: Box, fetched: Fetched) -> list[str]:
    """See that a container that was brought back is well, and answers. Returns what it says. Raises JobFailed."""
    box.wait_well()
    told = [restore_hooks.count_redis(box, fetched)] if fetched.hook == "redis" else []
    answer = box.ask()
    counted = told or (fetched.hook in SERVERS and SERVERS[fetched.hook].counts)
    if not (counted or box.has_question()):
        told.append(UNASKED)
    return [*told, f"it answers {answer[:80]!r}"] if answer else told


def _exchange(box: Box, prepared: Sequence[Place], progress: Progress) -> None:
    try:
        box.stop()
        for place in prepared:
            place.refuse_links()
    except BaseException:  # nothing has changed, and nothing is put back through a link
        if progress.running and not progress.half:
            with suppress(JobFailed):
                box.stop()  # one that is still on its way down would not be started
            box.start()
        raise
    progress.half = True
    try:
        if not progress.kept:
            for place in prepared:
                place.keep()
            progress.keep(True)
        for place in prepared:
            place.empty()
            place.fill()
    except BaseException as error:
        try:
            _put_back(box, prepared, progress)
        except (OSError, JobFailed) as again:
            if isinstance(error, Exception):
                raise JobFailed(f"{error}; then what was there could not be put back: {again}") from error
        raise
    progress.half = False


def _put_back(box: Box, prepared: Sequence[Place], progress: Progress) -> None:
    if progress.kept:
        for place in prepared:
            place.empty()
        progress.keep(False)
    for place in prepared:
        place.put_back()
    progress.half = False
    if progress.running:
        box.start()


def _load(server: Server, load: Load) -> str:
    """Load the dumps. A server that went away meanwhile was still setting itself up: it is waited for."""

    def complaint() -> str:
        return server.complaint(load.box)

    for attempt in range(1, _LOADS + 1):
        load.box.wait_until(complaint)
        try:
            return server.load(load)
        except JobFailed:
            if attempt == _LOADS or not complaint():
                raise
    raise AssertionError
