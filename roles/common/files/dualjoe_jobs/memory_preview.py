"""What a sync would bring, against the last good generation. Of the source's files only texts are fetched, for their
differences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dualjoe.differences import SECRET, text, unified
from dualjoe.names import shown

from .generations import Generation
from .manifest import Manifest
from .pull import Puller

_TEXT_BYTES = 1 << 17  # a longer text is only named,
_TEXTS_BYTES = 1 << 22  # and so are all that come when this many are fetched
_DIFF_LINES = 200  # of one file
Sizes = Mapping[str, int]


@dataclass(frozen=True)
class Preview:
    """``why`` says what would be done, for people. Paths -> sizes in bytes, before and after of ``changed``; ``diffs``:
    lines of the texts among them, in unified form."""

    why: str
    added: Sizes = field(default_factory=dict)
    changed: Mapping[str, Sequence[int]] = field(default_factory=dict)
    removed: Sizes = field(default_factory=dict)
    diffs: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """For people. What could lead a terminal astray is shown as what it is."""
        for sign, sizes in (("+", self.added), ("-", self.removed)):
            yield from (f"{sign} {shown(path)}  {size} bytes" for path, size in sizes.items())
        yield from (f"~ {shown(path)}  {old} -> {new} bytes" for path, (old, new) in self.changed.items())
        for diff in self.diffs.values():
            yield from map(shown, diff)
        yield self.why


def compared(wanted: Manifest, puller: Puller, before: Generation | None) -> Preview:
    """What the source has exported, beside what ``before`` has. Leaves a stage behind. Raises JobFailed."""
    old = before.made if before else Manifest("", {})
    added = {path: size for path, (size, _) in sorted(wanted.sums.items()) if path not in old.sums}
    removed = {path: size for path, (size, _) in sorted(old.sums.items()) if path not in wanted.sums}
    changed = {
        path: (old.sums[path][0], sums[0])
        for path, sums in sorted(wanted.sums.items())
        if path in old.sums and (old.sums[path], old.mode(path)) != (sums, wanted.mode(path))
    }
    places = {path: before.path / path for path in changed if before}
    texts = _fetched_texts(puller, wanted, [*changed, *added], places)
    coming = sum(wanted.sums[path][0] for path in (*added, *changed))
    why = f"{len(added)} files would be added and {len(changed)} changed, {coming} bytes in all; {len(removed)} removed"
    return Preview(why, added, changed, removed, {path: _diff(path, *texts[path]) for path in texts})


def _fetched_texts(
    puller: Puller, wanted: Manifest, paths: Sequence[str], places: Mapping[str, Path]
) -> dict[str, tuple[str, str]]:
    """Of those ``paths`` that are texts, and short: before and after. ``places``: where the old ones are."""
    before, chosen, room = {}, [], _TEXTS_BYTES
    for path in paths:
        size = wanted.sums[path][0]
        if SECRET.takes(path) or size > min(room, _TEXT_BYTES):
            continue
        old = text(places[path], _TEXT_BYTES) if path in places else ""
        if old is not None:
            before[path], room = old, room - size
            chosen.append(path)
    puller.fetch_some(wanted, chosen)
    after = {path: text(puller.copies.stage / path, _TEXT_BYTES) for path in chosen}
    return {path: (before[path], new) for path, new in after.items() if new is not None and new != before[path]}


def _diff(path: str, old: str, new: str) -> list[str]:
    lines = unified(path, old, new)
    more = len(lines) - _DIFF_LINES
    return [*lines[:_DIFF_LINES], *([f"... and {more} more lines"] if more > 0 else [])]
