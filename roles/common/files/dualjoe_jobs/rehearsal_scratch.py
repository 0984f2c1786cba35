"""The scratch state directory of a rehearsal: what a takeover would start from, in files that nobody else has.

OpenClaw keeps absolute paths in its state. So the unit of the rehearsal mounts the scratch folders over the gateway's
own: the gateway sees them where it would see the live ones, which it does not see at all.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dualjoe.selection import Selection

from .generations import Generation
from .job import JobFailed
from .memory_sets import MemorySet, copy_file, real_folder
from .room import check_room

# Of the live state directory, what a gateway makes anew at each start.
_ANEW = ["tmp/", "cache/", ".cache/", "logs/", "plugin-skills/", "*.lock", "*.pid"]


@dataclass(frozen=True)
class Scratch:
    """The scratch folders below ``root``, for a gateway with this state directory and these sets of memory."""

    root: Path
    state_dir: Path
    sets: Sequence[MemorySet]

    @property
    def state(self) -> Path:
        """What is mounted over the state directory."""
        return self.root / "state"

    def of(self, each: MemorySet) -> MemorySet:
        """A set where it is in the scratch. One outside the state directory has a folder, and a mount, of its own."""
        if each.path.is_relative_to(self.state_dir):
            return replace(each, path=self.state / each.path.relative_to(self.state_dir))
        return replace(each, path=self.root / "sets" / each.name)

    def clear(self) -> None:
        """Leave nothing of it, whoever made it."""
        for folder in (self.state, self.root / "sets"):
            if folder.exists():
                shutil.rmtree(folder)

    def make(self) -> None:
        """Make the folders, empty: they are mounted whatever comes."""
        self.clear()
        for each in self.sets:
            self.of(each).path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not each.path.is_relative_to(self.state_dir):  # nothing can be mounted over what is not there
                each.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.state.mkdir(mode=0o700, exist_ok=True)

    def fill(self, generation: Generation, refused: Collection[str], check_time: Callable[[], object]) -> None:
        """Copy a generation into it, but for the sets that this node ``refused``, and what the live state directory has
        besides: together what a takeover would start from.

        Raises JobFailed, also for a generation that is not what its manifest says.
        """
        brought = generation.sets.difference(refused)
        fetched = {each.name: each for each in self.sets if each.name in brought}
        besides = dict(self._besides(list(fetched.values())))
        size = generation.made.bytes + sum(status.st_size for status in besides.values())
        check_room(self.root, size, len(generation.made.sums) + len(besides))
        for path, status in besides.items():
            copy = real_folder(self.state, path, 0o700) / Path(path).name
            try:
                copy_file(self.state_dir / path, copy, check_time)
            except OSError as error:
                raise JobFailed(f"{self.state_dir / path}: {error.strerror}; it cannot be copied") from error
            copy.chmod(stat.S_IMODE(status.st_mode) & 0o700)
        for path, wanted in generation.made.sums.items():
            name, _, rest = path.partition("/")
            if name in fetched:
                self.of(fetched[name]).write(
                    rest, generation.path / path, wanted, generation.made.mode(path), check_time
                )

    def _besides(self, fetched: Sequence[MemorySet]) -> Iterator[tuple[str, os.stat_result]]:
        """The live files that no set which was fetched has to do with."""
        folders = tuple(f"{each.path}/" for each in fetched if each.path != self.state_dir)
        beside = [each.selection for each in fetched if each.path == self.state_dir]
        for path, status in MemorySet("besides", self.state_dir, Selection(["**"], _ANEW)).walk():
            of_a_set = f"{self.state_dir}/{path}".startswith(folders) or any(each.takes_deep(path) for each in beside)
            if stat.S_ISREG(status.st_mode) and not of_a_set:
                yield path, status
