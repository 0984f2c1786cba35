"""The pair as the witness knows it: the record, what was seen of the nodes, what the owner wants, what is decided.

Times are seconds of one monotonic clock of the witness that also runs while it is suspended (CLOCK_BOOTTIME), except
where they are said to be of the wall clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from .timing import Timing

TERMS_AHEAD = 2**20  # a node that knows of so many terms more than the record lies: a leap makes some thousands
FIRST_EPOCHS = 2**52  # without a record, a node is believed up to here: as much again is left to count on


@dataclass(frozen=True)
class Pause:
    """Nobody is moved until ``until`` (seconds of the wall clock), because ``by`` asked for it."""

    until: float
    by: str
    reason: str

    @property
    def ends_at(self) -> datetime:
        """For people. A record may hold any number, and a calendar has an end."""
        return datetime.fromtimestamp(min(max(self.until, 0.0), 2.0**37), timezone.utc)


@dataclass(frozen=True)
class Record:
    """What the witness must not forget. Stored durably before any action that follows from it.

    ``epoch``: the highest epoch ever granted. ``holder``: the node it was granted to; None when unknown, or when nobody
    holds it for certain (``vacant``). ``target``: the node a move in progress goes to. ``prepared``: the target has
    fetched the memory once while the holder still serves, so that little is left to fetch when nobody does. ``synced``:
    it has fetched all of it. ``rescue``: it takes over from a node that cannot serve, so Joe does not go back there for
    the sake of memory that cannot be fetched. ``home_hold``: an operator moved Joe away from home, so no automatic
    failback. ``quiet``: the longest that a lease granted in this term may need to be over, in seconds, also when the
    timing is changed meanwhile. ``failovers``: when the latest ones were, in seconds of the wall clock. ``adopted``:
    there was no record, and ``epoch`` is only the highest that a node has told since.
    """

    epoch: int = 0
    holder: str | None = None
    vacant: bool = False
    target: str | None = None
    prepared: bool = False
    synced: bool = False
    rescue: bool = False
    move_by: str | None = None
    move_reason: str | None = None
    home_hold: bool = False
    pause: Pause | None = None
    quiet: float = 0.0
    failovers: tuple[float, ...] = ()
    adopted: bool = False

    @property
    def unsure(self) -> bool:
        """There may have been terms that it does not know of."""
        return self.adopted or self.epoch == 0

    @property
    def farthest(self) -> int:
        """The highest epoch that a node is believed. It is adopted, and all count on from there: one lie must not take
        them to the end of the numbers."""
        return max(FIRST_EPOCHS if self.unsure else 0, self.epoch + TERMS_AHEAD)


@dataclass(frozen=True)
class Sighting:
    """What is known of one node. Times are None when it was never heard since the witness started.

    ``heard_at``: the last good probe; ``heard_since``: the first of the unbroken row of good probes up to it;
    ``failures``: failed probes since; ``boot_since``: when its present boot was first heard of; ``fit_since``: since
    when it has been fit without a break and of one boot; ``sick``: consecutive full checks that found its gateway not
    serving.
    """

    node: str
    heard_at: float | None = None
    heard_since: float | None = None
    failures: int = 0
    probe: Mapping[str, Any] = field(default_factory=dict)
    boot_since: float | None = None
    fit_since: float | None = None
    sick: int = 0

    @property
    def heard(self) -> bool:
        return self.heard_at is not None and self.failures == 0

    @property
    def active(self) -> bool:
        return self.probe.get("role") == "active"

    @property
    def epoch(self) -> int:
        return int(self.probe.get("epoch") or 0)

    @property
    def term(self) -> int:
        """Epoch of the node's last own lease: the higher, the newer its memory."""
        return int(self.probe.get("term") or 0)

    @property
    def fit(self) -> bool:
        """It answers now and says that it could run the gateway."""
        return self.heard and self.probe.get("fit") is True

    @property
    def promised_until(self) -> float:
        """Until when it takes no grant, because it has promised its peer. As last heard; it may have promised since."""
        return (self.heard_at or 0.0) + float(self.probe.get("promise_left") or 0.0)

    def paused_until(self) -> float:
        """Until when it knows that the pair is paused."""
        return (self.heard_at or 0.0) + float(self.probe.get("paused_left") or 0.0)

    @property
    def paused(self) -> bool:
        """It runs on without renewals (active), or takes no grant (passive), because people work on the pair."""
        return float(self.probe.get("paused_left") or 0.0) > 0

    @property
    def gateway(self) -> str:
        return str(self.probe.get("gateway", {}).get("state", "unknown"))


@dataclass(frozen=True)
class World:
    """Now, as the witness sees it. ``busy``: node -> the verb (grant, revoke, sync, ...) it is answering. ``wall``: the
    wall clock, in seconds."""

    now: float
    started_at: float
    sightings: Mapping[str, Sighting]
    last_lease_sent_at: float | None = None
    last_pause_sent_at: float | None = None
    busy: Mapping[str, str] = field(default_factory=dict)
    wall: float = 0.0


@dataclass(frozen=True)
class Policy:
    """The pair and what its owner wants."""

    primary: str
    standby: str
    timing: Timing = field(default_factory=Timing)
    auto_failback: bool = True
    holddown: float = 300.0  # the home node must be fit for so long before the move home
    absent_wait: float = 180.0  # a holder that was never heard is waited for so long
    observe: bool = False  # say what would be done, and move nobody
    fence: bool = False  # there is a hook that can switch a node off for certain

    def other(self, node: str) -> str:
        return self.standby if node == self.primary else self.primary


@dataclass(frozen=True)
class Action:
    """One verb for one node: ``renew``, ``grant``, ``revoke``, ``resume`` and ``pause`` with epoch (and, for a pause,
    ``seconds``), ``sync``; or ``fence``, which is not asked of the node but of the hook."""

    verb: str
    node: str
    epoch: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Decision:
    """Store ``record``, then carry out ``actions``. ``situation`` is a word for programs, ``reason`` for people."""

    record: Record
    situation: str
    reason: str
    actions: tuple[Action, ...] = ()
