"""The guard's side of a lease: what it accepts, and when the gateway must stop.

Pure: state, a checked request and the clock go in, the next state comes out. All clock figures are nanoseconds of this
boot's CLOCK_BOOTTIME, which counts suspended time and cannot be set.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .leap import leap
from .timing import DRIFT
from .wire import Refused, Request, Stamp

SECOND = 1_000_000_000
FOREVER = 2**62  # the deadline of a term on the operator's word; nanoseconds


@dataclass(frozen=True)
class Lease:
    """The right to run the gateway. ``ending``: the stop has begun, and no renewal takes it back. Until
    ``paused_until`` people work on the pair, and no renewal is needed. ``forced``: it stands on the operator's word
    that the peer is off."""

    epoch: int
    deadline: int
    ending: bool = False
    paused_until: int = 0
    forced: bool = False


@dataclass(frozen=True)
class NodeState:
    """What a guard knows of its right to run.

    ``epoch`` (highest ever accepted) and ``term`` (epoch of this node's last own lease) are durable; the lease lives in
    memory only, so none survives a reboot or a restart of the guard. Until ``promised_until`` this node takes no grant,
    because its peer may be running on its word; until ``held_until``, because its peer is paused. ``hold`` is the
    length of that pause in nanoseconds, and durable: after a boot, whose clock begins anew, all of it is kept again.
    ``paused_at`` is the stamp of the pause.
    """

    boot_id: str
    epoch: int
    term: int
    lease: Lease | None = None
    promised_until: int = 0
    hold: int = 0
    held_until: int = 0
    paused_at: int = 0


def started(boot_id: str, epoch: int, term: int, now: int, hold_ns: int, hold: int = 0) -> NodeState:
    """A guard that has just started. It may have promised before, and forgotten it, for ``hold_ns``. Not so where the
    highest epoch it ever saw is of a lease of its own: a promise would have been stored under a higher one. ``hold``:
    the stored length of a pause."""
    promised_until = 0 if epoch == term else now + hold_ns
    return NodeState(boot_id, epoch, term, None, promised_until, hold, now + hold if hold else 0)


def stamp(state: NodeState, now: int) -> Stamp:
    """A reading of this boot's clock for the witness to build a lease on."""
    return Stamp(state.boot_id, now)


def _deadline(state: NodeState, request: Request, now: int) -> int:
    """The end of a lease from this request; Refused where its stamp is not one that this boot handed out."""
    assert request.stamp is not None
    if request.stamp.boot_id != state.boot_id:
        raise Refused("other_boot", "the stamp is of another boot")
    if request.stamp.nanoseconds > now:
        raise Refused("bad_stamp", "the stamp is ahead of this node's clock: it was never handed out")
    return request.stamp.nanoseconds + round(request.ttl * SECOND)


def renew(state: NodeState, request: Request, now: int) -> NodeState:
    """Lengthen the running lease. A late or repeated renewal adds nothing."""
    deadline = _deadline(state, request, now)
    lease = _running(state, request)
    if lease.forced:  # the witness is back: from now on this is a lease like any other
        return replace(state, lease=replace(lease, deadline=deadline, forced=False))
    return replace(state, lease=replace(lease, deadline=max(lease.deadline, deadline)))


def _running(state: NodeState, request: Request) -> Lease:
    """The lease that ``request`` is about; Refused where it is another one, or over."""
    lease = state.lease
    if lease is None:
        raise Refused("not_active", "this node holds no lease")
    if request.epoch != lease.epoch:
        raise Refused("stale_epoch", f"this node's lease is of epoch {lease.epoch}, not {request.epoch}")
    if lease.ending:
        raise Refused("ending", "the lease is ending and the gateway is being stopped")
    return lease


def grant(state: NodeState, request: Request, now: int, stop_ns: int) -> NodeState:
    """Begin a term. The caller stores epoch and term durably before it acts on the new state."""
    deadline = _deadline(state, request, now)
    if request.epoch <= state.epoch:
        raise Refused("stale_epoch", f"epoch {request.epoch} is not above {state.epoch}")
    if state.lease is not None:
        raise Refused("active", f"this node is active with epoch {state.lease.epoch}")
    if bound_until(state) > now:
        raise Refused("promised", f"this node has promised its peer not to take over for {promise_left(state, now)} s")
    if deadline - stop_ns <= now:
        raise Refused("late", "the grant came too late: its lease is over, or too short to start")
    return _term(state, Lease(request.epoch, deadline))


def _term(state: NodeState, lease: Lease) -> NodeState:
    return replace(state, epoch=lease.epoch, term=lease.epoch, lease=lease, hold=0, held_until=0)


def force(state: NodeState, now: int, node: str, peer: str) -> NodeState:
    """Begin a term on the operator's word that the peer is off. It ends with the guard, the boot, a revoke, or when the
    peer turns out to be active. The word counts against a pause, which may last for days, but not against a promise,
    which the peer has asked for within the last lease. There may have been terms that this node never heard of."""
    if state.lease is not None:
        raise Refused("active", f"this node is active with epoch {state.lease.epoch}")
    if state.promised_until > now:
        told = f"this node's promise to its peer binds it for {(state.promised_until - now) / SECOND:.0f} s more"
        raise Refused("promised", f"{told}: the peer may have been alive a moment ago; try again then")
    return _term(state, Lease(leap(state.epoch, node, peer, forced=True), FOREVER, forced=True))


def reset(state: NodeState, request: Request, served: int, now: int, hold_ns: int) -> NodeState:
    """The epoch file was lost, and the operator tells the epoch of T440's record. ``served``: the newest own term that
    the memory tells of. What was promised is forgotten, and a grant of before may still come: none is taken until both
    are over, on any clock. The same holds after a restart, as the term stays below the epoch."""
    epoch = max(state.epoch, request.epoch)
    promised_until = max(state.promised_until, now + hold_ns)
    return replace(state, epoch=epoch, term=min(served, epoch - 1), promised_until=promised_until)


def revoke(state: NodeState, request: Request) -> NodeState:
    """End the term ``request.epoch``. It counts as seen from now on, so that a grant of it that is still on its way is
    refused when it comes."""
    if request.epoch < state.epoch:
        raise Refused("stale_epoch", f"epoch {request.epoch} is below {state.epoch}")
    return replace(state, epoch=request.epoch, lease=None)


def hold_ns(ttl: float, margin: float) -> int:
    """How long a promise for ``ttl`` seconds binds: as long as the peer's lease on it may run, on any clock, and the
    margin for the peer's guard."""
    return round((ttl * (1 + DRIFT) + margin) * SECOND)


def promise(state: NodeState, request: Request, now: int, margin: float) -> NodeState:
    """Give one's word not to take over. The caller stores the epoch durably before it answers."""
    if state.lease is not None:
        raise Refused("active", f"this node is active itself, with epoch {state.lease.epoch}")
    if request.epoch < state.epoch:
        raise Refused("stale_epoch", f"epoch {request.epoch} is below {state.epoch}")
    until = max(state.promised_until, now + hold_ns(request.ttl, margin))
    return replace(state, epoch=request.epoch, promised_until=until)


def extend(state: NodeState, epoch: int, asked_at: int, ttl: float) -> NodeState:
    """The peer has promised: the lease runs on, counted from when the promise was asked for."""
    lease = state.lease
    if lease is None or lease.epoch != epoch or lease.ending:
        return state
    return replace(state, lease=replace(lease, deadline=max(lease.deadline, asked_at + round(ttl * SECOND))))


def bound_until(state: NodeState) -> int:
    """Until when this node takes no grant, on its own word."""
    return max(state.promised_until, state.held_until)


def promise_left(state: NodeState, now: int) -> float:
    """For how many seconds this node's own word binds it; 0 when it is free."""
    return round(max(0, bound_until(state) - now) / SECOND, 3)


def _fresh(state: NodeState, request: Request, now: int, ttl: float) -> Stamp:
    """The stamp of a request that must not come late."""
    _deadline(state, request, now)
    assert request.stamp is not None
    if now - request.stamp.nanoseconds > ttl * SECOND:
        raise Refused("late", "the request came too late")
    return request.stamp


def pause(state: NodeState, request: Request, now: int, ttl: float, margin: float) -> NodeState:
    """People are going to work on the pair. The active node runs on for ``request.ttl`` seconds without renewals; the
    passive one takes no grant for as long, on any clock (the caller stores that before it answers). ``ttl``: of a
    lease."""
    stamp = _fresh(state, request, now, ttl)
    if state.lease is not None:
        lease, until = _running(state, request), stamp.nanoseconds + round(request.ttl * SECOND)
        return replace(state, lease=replace(lease, deadline=max(lease.deadline, until), paused_until=until))
    if request.epoch < state.epoch:
        raise Refused("stale_epoch", f"epoch {request.epoch} is below {state.epoch}")
    hold = hold_ns(request.ttl, margin)
    return replace(state, epoch=request.epoch, hold=hold, held_until=now + hold, paused_at=stamp.nanoseconds)


def resume(state: NodeState, request: Request, now: int, ttl: float) -> NodeState:
    """The work is over: the active node's lease is cut back to an ordinary one; the passive one may be granted."""
    stamp = _fresh(state, request, now, ttl)
    if state.lease is not None:
        lease, until = _running(state, request), _deadline(state, request, now)
        return replace(state, lease=replace(lease, deadline=min(lease.deadline, until), paused_until=0))
    if request.epoch < state.epoch:
        raise Refused("stale_epoch", f"epoch {request.epoch} is below {state.epoch}")
    if stamp.nanoseconds < state.paused_at:
        raise Refused("late", "the request is older than the pause")
    return replace(state, epoch=request.epoch, hold=0, held_until=0)


def paused_left(state: NodeState, now: int) -> float:
    """Seconds until the pause is over as far as this node knows; 0 where there is none."""
    until = state.held_until if state.lease is None else state.lease.paused_until
    return round(max(0, until - now) / SECOND, 3)


def begin_end(state: NodeState) -> NodeState:
    """The lease runs out: the stop begins."""
    assert state.lease is not None
    return replace(state, lease=replace(state.lease, ending=True))


def duty(state: NodeState, now: int, stop_ns: int) -> str:
    """What the guard owes at this moment: ``run``, ``stop`` (gracefully) or ``kill`` (at once)."""
    if state.lease is None or now >= state.lease.deadline:
        return "kill"
    if state.lease.ending or now >= state.lease.deadline - stop_ns:
        return "stop"
    return "run"


def seconds_left(state: NodeState, now: int) -> float | None:
    """Until the deadline; None without a lease, and where it stands on the operator's word."""
    if state.lease is None or state.lease.forced:
        return None
    return round((state.lease.deadline - now) / SECOND, 3)
