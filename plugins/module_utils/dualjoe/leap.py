"""The number of a term that is begun without knowing all the terms before it. Pure.

So it is where an operator forces a node, and where a witness without a record reaches one node only.
"""

from __future__ import annotations

LEAP = 1000  # nobody serves so many terms of which a machine of the pair never hears
LANES = 4


def leap(epoch: int, node: str, peer: str, *, forced: bool) -> int:
    """An epoch for ``node`` that is more than LEAP above ``epoch``, the highest one known.

    Each node, and each of the two ways not to know, has multiples of LEAP of its own. So two leaps of which neither
    knows the other never end at the same number, from whatever they begin, nor do the terms that are counted on from
    there. An operator's word goes further than a witness without a record, which may have leapt before, unheard.
    """
    lane = 2 * forced + (node > peer)
    block = epoch // LEAP + 2 + 2 * LANES * forced
    return (block + (lane - block) % LANES) * LEAP
