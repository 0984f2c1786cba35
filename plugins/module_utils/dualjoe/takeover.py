"""What the witness does next: who holds the lease, who gets it, and when.

``decide`` is pure: the durable record, what was seen of the nodes and a clock go in; actions and the record to store
*before* they are carried out come out. The rules, in the order in which they are tried:

=================================================  ==================================================================
situation                                          action
=================================================  ==================================================================
a node reports an epoch above the record           adopt it; if that node is active, it is the holder
a node is active in a term that is over            revoke it
a grant is due, but the node has promised its peer wait: the peer is alive for it
holder unknown, a node is active                   it is the holder
holder unknown, a lease may still run              wait
holder unknown                                     grant the node with the newest memory; for one node alone, wait
nobody holds (a revoke was confirmed)              planned move: sync the target; then grant it
holder heard and active, still starting            renew
holder heard and active, move wanted, target fit   revoke the holder
holder heard and active, gateway sick              revoke the holder if the other node is fit, else renew
holder heard and active, home node well for long   revoke the holder (failback)
holder heard and active                            renew
holder heard and passive                           grant it again; unfit: revoke, so that the other node can have it
holder missed a check                              wait
holder silent, its lease may still run             wait
holder silent                                      grant the other node
=================================================  ==================================================================

Times are seconds of one monotonic clock of the witness that also runs while it is suspended (CLOCK_BOOTTIME).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .timing import Timing


@dataclass(frozen=True)
class Record:
    """What the witness must not forget. Stored durably before any action that follows from it.

    ``epoch``: the highest epoch ever granted. ``holder``: the node it was granted to; None when unknown, or when nobody
    holds it for certain (``vacant``). ``target``: the node a move in progress goes to. ``synced``: the target has
    fetched the memory for that move. ``home_hold``: an operator moved Joe away from home, so no automatic failback.
    """

    epoch: int = 0
    holder: str | None = None
    vacant: bool = False
    target: str | None = None
    synced: bool = False
    move_by: str | None = None
    move_reason: str | None = None
    home_hold: bool = False


@dataclass(frozen=True)
class Sighting:
    """What is known of one node. Times are None when it was never heard since the witness started.

    ``heard_at``: the last good probe; ``heard_since``: the first of the unbroken row of good probes up to it;
    ``failures``: failed probes since; ``fit_since``: since when it has been fit without a break and of one boot;
    ``sick``: consecutive full checks that found its gateway not serving.
    """

    node: str
    heard_at: float | None = None
    heard_since: float | None = None
    failures: int = 0
    probe: Mapping[str, Any] = field(default_factory=dict)
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

    @property
    def gateway(self) -> str:
        return str(self.probe.get("gateway", {}).get("state", "unknown"))


@dataclass(frozen=True)
class World:
    """Now, as the witness sees it. ``busy``: node -> the slow verb (grant, revoke, sync) it is answering."""

    now: float
    started_at: float
    sightings: Mapping[str, Sighting]
    last_lease_sent_at: float | None = None
    busy: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Policy:
    """The pair and what its owner wants."""

    primary: str
    standby: str
    timing: Timing = field(default_factory=Timing)
    auto_failback: bool = True
    holddown: float = 300.0  # the home node must be fit for so long before the move home
    absent_wait: float = 180.0  # a holder that was never heard is waited for so long

    def other(self, node: str) -> str:
        return self.standby if node == self.primary else self.primary


@dataclass(frozen=True)
class Action:
    """One verb for one node: ``renew``, ``grant``, ``revoke`` (with epoch) or ``sync``."""

    verb: str
    node: str
    epoch: int = 0


@dataclass(frozen=True)
class Decision:
    """Store ``record``, then carry out ``actions``. ``situation`` is a word for programs, ``reason`` for people."""

    record: Record
    situation: str
    reason: str
    actions: tuple[Action, ...] = ()


def quiet_at(world: World, policy: Policy) -> float:
    """When every lease that may have been sent to anyone is over, on any clock."""
    last = world.started_at if world.last_lease_sent_at is None else world.last_lease_sent_at
    return last + policy.timing.quiet_seconds


def newest_first(world: World, policy: Policy) -> list[Sighting]:
    """The fit nodes, newest memory first; the home node where they are equal."""
    fit = [s for s in world.sightings.values() if s.fit]
    return sorted(fit, key=lambda s: (s.term, s.node == policy.primary), reverse=True)


def decide(record: Record, world: World, policy: Policy) -> Decision:
    """The next step. See the table at the top of this module."""
    record = _adopt(record, world)
    stray = next((s for s in world.sightings.values() if _astray(s, record, world)), None)
    if stray is not None:
        reason = f"{stray.node} is active with epoch {stray.epoch}, and {record.epoch} is not its own"
        return Decision(record, "stray", reason, (Action("revoke", stray.node, record.epoch),))
    if record.vacant:
        return _fill_vacancy(record, world, policy)
    if record.holder is None:
        return _find_holder(record, world, policy)
    holder = world.sightings[record.holder]
    if world.busy.get(holder.node) == "revoke":
        return Decision(record, "revoking", f"{holder.node} is stopping")
    if holder.heard and holder.active and holder.epoch == record.epoch:
        return _holder_active(record, holder, world, policy)
    if holder.heard:
        return _holder_passive(record, holder, world, policy)
    return _holder_silent(record, holder, world, policy)


def _adopt(record: Record, world: World) -> Record:
    """A node that knows a higher epoch, or is active while no holder is known, knows more than the record."""
    for s in world.sightings.values():
        if s.heard and s.epoch > record.epoch:
            record = Record(epoch=s.epoch, holder=s.node if s.active else None, home_hold=record.home_hold)
        elif s.heard and s.active and s.epoch == record.epoch and record.holder is None and not record.vacant:
            record = replace(record, holder=s.node)
    return record


def _astray(s: Sighting, record: Record, world: World) -> bool:
    """Whether a node serves in a term that is over. On its peer's promises it could go on with that for ever."""
    return s.heard and s.active and s.epoch < record.epoch and not world.busy


def _grant(record: Record, node: str, world: World, policy: Policy, situation: str, reason: str) -> Decision:
    left = world.sightings[node].promised_until - world.now
    if left > 0:
        other = policy.other(node)
        told = f"{node} has promised {other} not to take over for {left:.0f} s more"
        return Decision(record, "promised", f"{told} ({reason})")
    epoch = record.epoch + 1
    stored = Record(epoch=epoch, holder=node, home_hold=record.home_hold and node != policy.primary)
    return Decision(stored, situation, reason, (Action("grant", node, epoch),))


def _find_holder(record: Record, world: World, policy: Policy) -> Decision:
    quiet = quiet_at(world, policy)
    if world.now < quiet:
        return Decision(record, "settling", f"a lease may still run for {quiet - world.now:.0f} s")
    fit = newest_first(world, policy)
    unheard = [s.node for s in world.sightings.values() if not s.heard]
    patience = world.started_at + policy.absent_wait - world.now
    if fit and unheard and patience > 0:
        return Decision(
            record, "waiting_for_both", f"{', '.join(unheard)} may have newer memory; waiting {patience:.0f} s more"
        )
    if not fit:
        return Decision(record, "nobody_fit", "no node is heard and fit to run the gateway")
    return _grant(record, fit[0].node, world, policy, "granting", f"{fit[0].node} has the newest memory in reach")


def _fill_vacancy(record: Record, world: World, policy: Policy) -> Decision:
    if world.busy:
        return Decision(record, "moving", f"waiting for {', '.join(sorted(world.busy))}")
    fit = newest_first(world, policy)
    if not fit:
        return Decision(record, "nobody_fit", "no node is heard and fit to run the gateway")
    chosen = next((s for s in fit if s.node == record.target), fit[0])
    other = world.sightings[policy.other(chosen.node)]
    if chosen.node == record.target and not record.synced and other.heard and other.term > chosen.term:
        reason = f"{chosen.node} fetches the memory of {other.node}"
        return Decision(record, "syncing", reason, (Action("sync", chosen.node),))
    return _grant(record, chosen.node, world, policy, "granting", record.move_reason or "nobody holds the lease")


def _revoke(record: Record, policy: Policy, situation: str, by: str, reason: str) -> Decision:
    assert record.holder is not None
    stored = replace(record, target=policy.other(record.holder), synced=False, move_by=by, move_reason=reason)
    return Decision(stored, situation, reason, (Action("revoke", record.holder, record.epoch),))


def _holder_active(record: Record, holder: Sighting, world: World, policy: Policy) -> Decision:
    other = world.sightings[policy.other(holder.node)]
    if holder.node in world.busy:
        return Decision(record, "granting", f"{holder.node} is starting", (Action("renew", holder.node, record.epoch),))
    if record.target == other.node:
        if other.fit:
            return _revoke(record, policy, "moving", record.move_by or "witness", record.move_reason or "move")
        record = replace(record, target=None, move_by=None, move_reason=None)
    renew = (Action("renew", holder.node, record.epoch),)
    if holder.gateway == "failed" or holder.sick >= policy.timing.confirm_checks:
        detail = holder.probe.get("gateway", {}).get("detail") or holder.gateway
        reason = f"the gateway on {holder.node} does not serve: {detail}"
        if other.fit:
            return _revoke(record, policy, "failing_over", "witness", reason)
        return Decision(record, "sick_alone", f"{reason}; {other.node} cannot take over", renew)
    if holder.node != policy.primary and policy.auto_failback and not record.home_hold and other.fit_since is not None:
        left = other.fit_since + policy.holddown - world.now
        if other.fit and left <= 0:
            reason = f"{other.node} has been well for {policy.holddown:.0f} s"
            return _revoke(record, policy, "failing_back", "witness", reason)
        if other.fit:
            return Decision(record, "away", f"{other.node} is well; moving home in {left:.0f} s", renew)
    if holder.node != policy.primary:
        return Decision(record, "away", f"{holder.node} serves in place of {policy.primary}", renew)
    return Decision(record, "home", f"{holder.node} serves", renew)


def _holder_passive(record: Record, holder: Sighting, world: World, policy: Policy) -> Decision:
    if holder.node in world.busy:
        return Decision(record, "granting", f"{holder.node} is starting")
    other = world.sightings[policy.other(holder.node)]
    if holder.fit:
        return _grant(record, holder.node, world, policy, "regranting", f"{holder.node} lost its lease and is back")
    if other.fit:
        unfit = ", ".join(map(str, holder.probe.get("unfit", []))) or "it does not say why"
        return _revoke(record, policy, "failing_over", "witness", f"{holder.node} is not fit: {unfit}")
    return Decision(record, "nobody_fit", "no node is heard and fit to run the gateway")


def _holder_silent(record: Record, holder: Sighting, world: World, policy: Policy) -> Decision:
    other = world.sightings[policy.other(holder.node)]
    last = world.started_at if holder.heard_at is None else holder.heard_at
    if holder.failures < policy.timing.confirm_checks:
        return Decision(record, "missed", f"{holder.node} missed {holder.failures} check(s)")
    if not other.heard:
        return Decision(record, "alone", "the witness hears neither node")
    wait_until = quiet_at(world, policy)
    # A node that was itself away may be first to boot after a power cut: give the one with newer memory its time.
    if holder.heard_at is None or (other.heard_since or 0) > holder.heard_at:
        wait_until = max(wait_until, last + policy.absent_wait)
    seen = " (it still reaches it)" if other.probe.get("peer_reachable") else ""
    silence = f"{holder.node} has been silent for {world.now - last:.0f} s{seen}"
    if world.now < wait_until:
        return Decision(record, "silent", f"{silence}; {wait_until - world.now:.0f} s until its lease is surely over")
    if not other.fit:
        return Decision(record, "nobody_fit", f"{silence} and {other.node} is not fit")
    return _grant(record, other.node, world, policy, "failing_over", silence)


def request_move(record: Record, to: str, by: str, reason: str, world: World, policy: Policy) -> tuple[Record, str]:
    """Ask for a switchover to node ``to``. Returns the record to store and, where it cannot be done, why ('' is yes).

    Asking for what already is changes nothing but ``home_hold``: a move to the standby by hand holds it there.
    """
    hold = to == policy.standby
    if record.holder == to:
        return replace(record, home_hold=hold, target=None), ""
    target = world.sightings[to]
    if record.holder is None and not record.vacant:
        return record, "it is not yet known who is active; try again in a minute"
    if not target.heard:
        return record, f"{to} does not answer the witness"
    if not target.fit:
        return record, f"{to} is not fit: {', '.join(map(str, target.probe.get('unfit', []))) or 'no reason given'}"
    return replace(record, target=to, synced=False, move_by=by, move_reason=reason, home_hold=hold), ""


def on_revoked(record: Record, node: str, epoch: int) -> Record:
    """The node confirmed that its gateway is stopped and that ``epoch`` is over for it."""
    if record.holder != node or record.epoch != epoch:
        return record
    return replace(record, holder=None, vacant=True)


def on_synced(record: Record, node: str, good: bool, policy: Policy) -> Record:
    """The sync of a planned move ended. Without it the move is taken back: nothing remembered is lost for tidiness."""
    if not record.vacant or record.target != node:
        return record
    if good:
        return replace(record, synced=True)
    return replace(record, target=policy.other(node), synced=True, move_reason=f"sync to {node} failed; rolled back")


def on_grant_failed(record: Record, node: str, epoch: int, policy: Policy) -> Record:
    """The node answered that its gateway did not become ready, is stopped, and that its lease is dropped."""
    if record.holder != node or record.epoch != epoch:
        return record
    return replace(
        record,
        holder=None,
        vacant=True,
        target=policy.other(node),
        synced=True,
        move_reason=f"the gateway on {node} did not become ready",
    )
