"""In which turn containers are saved, and how much of the time there is each may take. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping


def turns(
    names: Iterable[str], took: Mapping[str, float], failed: Collection[str], most: float
) -> Iterator[tuple[str, float]]:
    """The containers in their turn, each with the share (up to 1) that it may take of the time left then.

    ``took``: seconds when each was saved last; ``failed``: who could not be saved in the last run; ``most``: what one
    may take at most. The quickest come first, and each leaves to those after it what they needed last, and more: what
    fitted then fits again, also when others hang. Those that failed come last and share what is left, as they may hang
    again.
    """

    def need(name: str) -> float:
        return took.get(name, most) + most / 4

    listed = sorted(names, key=need)
    for group in ([name for name in listed if name not in failed], [name for name in listed if name in failed]):
        for number, name in enumerate(group):
            yield name, need(name) / sum(map(need, group[number:]))
