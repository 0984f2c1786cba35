"""What the witness does next: who holds the lease, who gets it, and when.

``decide`` is pure: the durable record, what was seen of the nodes and a clock go in; actions and the record to store
*before* they are carried out come out. The rules, in about the order in which they are tried; first come those that
keep the pair safe, then the holder is unknown, there, or silent:

=================  ==============================================  =================================================
situation          when                                            action
=================  ==============================================  =================================================
stray              a node is active in a term that is over         revoke it
pausing            paused, and a node does not know                pause the passive node first, then the holder
resuming           paused no longer, and a node does not know      resume the holder first, then the passive node
moving             nobody holds, a verb of the move is under way   wait
syncing            nobody holds, the move's target lacks memory    sync the target
settling           holder unknown, a lease may still run           wait
waiting_for_both   holder unknown, one node not heard yet          wait for a bounded time: it may have newer memory
granting           nobody holds, or the holder is unknown          grant the move's target, or the newest memory
revoking           the holder is stopping                          wait
granting           the holder is starting                          renew once it is active
moving             holder active, a move is wanted, target fit     sync the target, then revoke the holder
failing_over       holder active, its gateway sick, other fit      revoke the holder, sync if it can be, grant
sick_alone         holder active, its gateway sick, other unfit    renew
failing_back       holder away, the home node well for long        sync the home node, then revoke the holder
home, away         holder active                                   renew
failing_over       holder heard, passive, other has newer memory   revoke the holder: its grant never arrived
regranting         holder heard, passive and fit                   grant it again
failing_over       holder heard, passive and unfit, other fit      revoke the holder, so that the other can have it
missed             holder missed a check                           wait
alone              holder silent, and so is the other node         wait
fencing            holder silent, its peer misses it too, a hook   fence it; then nobody holds
silent             holder silent, its lease may still run          wait
failing_over       holder silent, its lease surely over            grant the other node
stray              a grant is due, the peer is still active        wait: it is being revoked
promised           a grant is due, its node is bound by a promise  wait: the peer is alive for it
settling           a grant is due, the peer was not heard lately   wait until its node must know of a forced term
nobody_fit         a grant is due, no node is fit                  wait
paused, observing  a move is due that nobody asked for             renew the holder, and say so
unwritten          what is due cannot be stored                    renew the holder of record, and say so
=================  ==============================================  =================================================

A node that reports a higher epoch than the record's is believed before anything else, up to ``Record.farthest``.

Times are seconds of one monotonic clock of the witness that also runs while it is suspended (CLOCK_BOOTTIME). The wall
clock, which may jump, decides only on what cannot harm: the end of a pause, and how long a move home is put off.
"""

from __future__ import annotations

from dataclasses import replace

from .leap import leap
from .pair import Action, Decision, Pause, Policy, Record, Sighting, World
from .wire import MAX_PAUSE_SECONDS

WITNESS = "witness"  # who asked for a move that nobody asked for
UNASKED_MOVES = frozenset({"failing_over", "failing_back"})
HOUR = 3600.0  # failovers of so many seconds count; also the longest hold-down


def quiet_at(record: Record, world: World, policy: Policy) -> float:
    """When every lease that may have been sent to anyone is over, on any clock; but for paused ones, whose passive node
    takes no grant."""
    last = world.started_at if world.last_lease_sent_at is None else world.last_lease_sent_at
    return last + max(record.quiet, policy.timing.quiet_seconds)


def holddown(record: Record, world: World, policy: Policy) -> float:
    """How long the home node must be well before the move home: doubled for each failover of the last hour but the
    first, up to an hour. It only ever delays a move home; nobody is kept from taking over."""
    recent = sum(0 <= world.wall - at < HOUR for at in record.failovers)
    return float(min(policy.holddown * 2 ** max(0, recent - 1), max(policy.holddown, HOUR)))


def newest_first(world: World, policy: Policy) -> list[Sighting]:
    """The fit nodes, newest memory first; the home node where they are equal."""
    fit = [s for s in world.sightings.values() if s.fit]
    return sorted(fit, key=lambda s: (s.term, s.node == policy.primary), reverse=True)


def decide(record: Record, world: World, policy: Policy) -> Decision:
    """The next step. See the table at the top of this module."""
    record = _pause_over(_adopt(record, world), world)
    stray = next((s for s in world.sightings.values() if _astray(s, record, world)), None)
    if stray is not None:
        reason = f"{stray.node} is active with epoch {stray.epoch}, and {record.epoch} is not its own"
        return Decision(record, "stray", reason, (Action("revoke", stray.node, record.epoch),))
    decision = _mend_pause(record, world, policy) or _serve(record, world, policy)
    if decision.situation in UNASKED_MOVES and (policy.observe or record.pause is not None):
        situation = "observing" if record.pause is None else "paused"
        reason = f"nothing is moved now; otherwise: {decision.reason}"
        return Decision(record, situation, reason, _renewal(record, world))
    return decision


def unwritten(wanted: Decision, record: Record, world: World) -> Decision:
    """What is done instead where the record of ``wanted`` cannot be stored: nothing that follows from it. Whoever holds
    the lease by the stored one goes on, unless he is being stopped, or somebody has a later term."""
    stays = wanted.record.epoch == record.epoch and world.busy.get(record.holder or "") != "revoke"
    return Decision(record, "unwritten", wanted.reason, _renewal(record, world) if stays else ())


def _serve(record: Record, world: World, policy: Policy) -> Decision:
    if record.vacant:
        return _fill_vacancy(record, world, policy)
    if record.holder is None:
        return _find_holder(record, world, policy)
    holder = world.sightings[record.holder]
    if world.busy.get(holder.node) == "revoke":
        return Decision(record, "revoking", f"{holder.node} is stopping")
    if _renewal(record, world):
        return _holder_active(record, holder, world, policy)
    if holder.heard:
        return _holder_passive(record, holder, world, policy)
    return _holder_silent(record, holder, world, policy)


def _adopt(record: Record, world: World) -> Record:
    """A node that knows a higher epoch, or is active while no holder is known, knows more than the record."""
    for s in world.sightings.values():
        if s.heard and s.epoch > record.epoch:
            record = replace(
                _given_up(record),
                epoch=s.epoch,
                holder=s.node if s.active else None,
                vacant=False,
                synced=False,
                pause=record.pause or _told_pause(s, world),
                adopted=record.unsure,
            )
        elif s.heard and s.active and s.epoch == record.epoch and record.holder is None and not record.vacant:
            record = replace(record, holder=s.node)
    return record


def _told_pause(s: Sighting, world: World) -> Pause | None:
    """A pause that the node knows of and the witness does not, because its own record is lost."""
    left = min(float(s.probe.get("paused_left") or 0.0), MAX_PAUSE_SECONDS)
    return Pause(world.wall + left, s.node, "it was paused before the watchdog's record was lost") if left else None


def _astray(s: Sighting, record: Record, world: World) -> bool:
    """Whether a node serves in a term that is over. On its peer's promises it could go on with that for ever."""
    return s.heard and s.active and s.epoch < record.epoch and not world.busy


def _renewal(record: Record, world: World) -> tuple[Action, ...]:
    """The holder's next renewal, where it can have one."""
    holder = world.sightings.get(record.holder or "")
    if holder is None or not holder.heard or not holder.active or holder.epoch != record.epoch:
        return ()
    return (Action("renew", holder.node, record.epoch),)


def _pause_over(record: Record, world: World) -> Record:
    over = record.pause is not None and world.wall >= record.pause.until
    return replace(record, pause=None) if over else record


def _mend_pause(record: Record, world: World, policy: Policy) -> Decision | None:
    """Tell the nodes of a pause, or of its end, where they do not know.

    Two must agree that nobody takes over: the witness, and the passive node, which keeps its word also when the witness
    is lost. So the passive node is bound before the holder is let run without renewals, and is freed after it.
    """
    holder = world.sightings.get(record.holder or "")
    if world.busy:
        return None
    if not _renewal(record, world):
        nobody_runs = record.vacant or (holder is not None and holder.heard and not holder.active)
        bound = next((s for s in world.sightings.values() if s.heard and not s.active and s.paused), None)
        done = record.pause is None and nobody_runs and bound is not None
        return _resume(record, bound, world, policy) if done and bound is not None else None
    assert holder is not None
    other = world.sightings[policy.other(holder.node)]
    if record.pause is not None:
        until = world.now + record.pause.until - world.wall
        late = until - policy.timing.quiet_seconds  # its stamp, and with it its pause, is a little old
        unaware = next((s for s in (other, holder) if not s.paused or s.paused_until() < late), None)
        if unaware is None or not unaware.heard:
            return None
        action = Action("pause", unaware.node, record.epoch, max(1.0, record.pause.until - world.wall))
        reason = f"{unaware.node} is told of the pause"
        return Decision(record, "pausing", reason, (action, *_renewal(record, world)))
    unaware = next((s for s in (holder, other) if s.paused and s.heard), None)
    return None if unaware is None else _resume(record, unaware, world, policy)


def _resume(record: Record, node: Sighting, world: World, policy: Policy) -> Decision | None:
    last_pause = world.started_at if world.last_pause_sent_at is None else world.last_pause_sent_at
    if not node.active and world.now < last_pause + policy.timing.quiet_seconds:
        return None  # a pause that is still on its way to the holder may yet take effect
    reason = f"{node.node} is told that the pause is over"
    action = Action("resume", node.node, record.epoch)
    return Decision(record, "resuming", reason, (action, *(a for a in _renewal(record, world) if a.node != node.node)))


def _grant(record: Record, node: str, world: World, policy: Policy, situation: str, reason: str) -> Decision:
    left = world.sightings[node].promised_until - world.now
    if left > 0:
        other = policy.other(node)
        told = f"{node} has promised {other} not to take over for {left:.0f} s more"
        return Decision(record, "promised", f"{told} ({reason})")
    peer = world.sightings[policy.other(node)]
    if peer.heard and peer.active:  # on an operator's word it has no end of its own
        return Decision(record, "stray", f"{peer.node} is still active with epoch {peer.epoch} ({reason})")
    left = _untold_until(node, world, policy) - world.now
    if left > 0:
        told = f"{peer.node} may run on an operator's word, of which {node} would know in {left:.0f} s"
        return Decision(record, "settling", f"{told} ({reason})")
    if record.unsure and peer.heard and not _heard_since_settled(peer, world, policy):
        return Decision(record, "settling", f"{peer.node} is asked once more which terms there were ({reason})")
    epoch = _next_epoch(record, node, world, policy)
    stored = Record(
        epoch=epoch,
        holder=node,
        home_hold=record.home_hold and node != policy.primary,
        pause=record.pause,
        quiet=policy.timing.quiet_seconds,
        failovers=_with_failover(record, world) if situation == "failing_over" else record.failovers,
    )
    return Decision(stored, situation, reason, (Action("grant", node, epoch),))


def _untold_until(node: str, world: World, policy: Policy) -> float:
    """Until when the peer may run on an operator's word without this node's knowledge.

    An operator can force the peer only while this node is off, and while the witness has not been heard there for a
    TTL. After this node's boot, the peer has it promise within half a TTL.
    """
    sighting, peer = world.sightings[node], world.sightings[policy.other(node)]
    if peer.heard_at is not None and world.now - peer.heard_at < policy.timing.ttl / 2:
        return world.now
    since = world.now if sighting.fit_since is None else sighting.fit_since
    return since + policy.timing.quiet_seconds


def _next_epoch(record: Record, node: str, world: World, policy: Policy) -> int:
    """One above the record's; but far above where the record is new and the peer may know of later terms."""
    peer = world.sightings[policy.other(node)]
    if not record.unsure or (peer.heard and _heard_since_settled(peer, world, policy)):
        return record.epoch + 1
    return leap(record.epoch, node, peer.node, forced=False)


def _heard_since_settled(peer: Sighting, world: World, policy: Policy) -> bool:
    """Whether the peer was heard when no grant that a lost record had sent could come into force any more."""
    return (peer.heard_at or 0) >= world.started_at + policy.timing.ttl


def _with_failover(record: Record, world: World) -> tuple[float, ...]:
    return (*(at for at in record.failovers if 0 <= world.wall - at < HOUR), world.wall)


def _find_holder(record: Record, world: World, policy: Policy) -> Decision:
    quiet = quiet_at(record, world, policy)
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
    unsynced = chosen.node == record.target and not record.synced
    if unsynced and not other.heard and other.failures < policy.timing.confirm_checks:
        return Decision(record, "missed", f"{other.node} missed a check, and may have newer memory")
    if unsynced and other.heard and other.term > chosen.term:
        reason = f"{chosen.node} fetches the memory of {other.node}"
        return Decision(record, "syncing", reason, (Action("sync", chosen.node),))
    return _grant(record, chosen.node, world, policy, "granting", record.move_reason or "nobody holds the lease")


def _revoke(record: Record, policy: Policy, situation: str, by: str, reason: str) -> Decision:
    assert record.holder is not None
    stored = replace(record, target=policy.other(record.holder), synced=False, move_by=by, move_reason=reason)
    return Decision(stored, situation, reason, (Action("revoke", record.holder, record.epoch),))


def _rescue(record: Record, world: World, policy: Policy, reason: str) -> Decision:
    """Take the lease from a holder that cannot serve."""
    rescue = replace(record, rescue=True, failovers=_with_failover(record, world))
    return _revoke(rescue, policy, "failing_over", WITNESS, reason)


def _planned(record: Record, holder: Sighting, world: World, policy: Policy) -> Decision:
    """The next step of a move whose target is fit: fetch what can be fetched while Joe serves, then stop him there. Not
    while the target is bound by a promise: nobody would serve until that is over."""
    target, by = policy.other(holder.node), record.move_by or WITNESS
    reason = record.move_reason or "move"
    situation = "failing_back" if by == WITNESS else "moving"
    bound = world.sightings[target].promised_until - world.now
    if record.prepared and bound > 0:
        waits = f"{reason}; {target} is bound by its promise for {bound:.0f} s more"
        return Decision(record, situation, waits, _renewal(record, world))
    if record.prepared:
        return _revoke(record, policy, situation, by, reason)
    actions = () if target in world.busy else (Action("sync", target),)
    return Decision(record, situation, reason, (*_renewal(record, world), *actions))


def _holder_active(record: Record, holder: Sighting, world: World, policy: Policy) -> Decision:
    other = world.sightings[policy.other(holder.node)]
    if world.busy.get(holder.node) == "grant":
        return Decision(record, "granting", f"{holder.node} is starting", _renewal(record, world))
    if record.target == other.node:
        if other.fit:
            return _planned(record, holder, world, policy)
        record = _given_up(record)
    renew = _renewal(record, world)
    if holder.gateway == "failed" or holder.sick >= policy.timing.confirm_checks:
        detail = holder.probe.get("gateway", {}).get("detail") or holder.gateway
        reason = f"the gateway on {holder.node} does not serve: {detail}"
        if other.fit:
            return _rescue(record, world, policy, reason)
        return Decision(record, "sick_alone", f"{reason}; {other.node} cannot take over", renew)
    if holder.node != policy.primary and policy.auto_failback and not record.home_hold and other.fit_since is not None:
        wanted = holddown(record, world, policy)
        left = other.fit_since + wanted - world.now
        if other.fit and left <= 0:
            reason = f"{other.node} has been well for {wanted:.0f} s"
            wish = replace(record, target=other.node, prepared=False, move_by=WITNESS, move_reason=reason)
            return _planned(wish, holder, world, policy)
        if other.fit:
            return Decision(record, "away", f"{other.node} is well; moving home in {left:.0f} s", renew)
    if holder.node != policy.primary:
        return Decision(record, "away", f"{holder.node} serves in place of {policy.primary}", renew)
    return Decision(record, "home", f"{holder.node} serves", renew)


def _holder_passive(record: Record, holder: Sighting, world: World, policy: Policy) -> Decision:
    if holder.node in world.busy:
        return Decision(record, "granting", f"{holder.node} is busy with {world.busy[holder.node]}")
    other = world.sightings[policy.other(holder.node)]
    if other.fit and other.term > holder.term:  # its grant never arrived
        return _revoke(record, policy, "failing_over", WITNESS, f"{other.node} has newer memory than {holder.node}")
    if holder.fit:
        return _grant(record, holder.node, world, policy, "regranting", f"{holder.node} lost its lease and is back")
    if other.fit:
        unfit = ", ".join(map(str, holder.probe.get("unfit", []))) or "it does not say why"
        return _rescue(record, world, policy, f"{holder.node} is not fit: {unfit}")
    return Decision(record, "nobody_fit", "no node is heard and fit to run the gateway")


def _holder_silent(record: Record, holder: Sighting, world: World, policy: Policy) -> Decision:
    other = world.sightings[policy.other(holder.node)]
    last = world.started_at if holder.heard_at is None else holder.heard_at
    if holder.failures < policy.timing.confirm_checks:
        told = f"missed {holder.failures} check(s)" if holder.failures else "has not been heard yet"
        return Decision(record, "missed", f"{holder.node} {told}")
    if not other.heard:
        return Decision(record, "alone", "the witness hears neither node")
    wait_until = quiet_at(record, world, policy)
    # A node that was itself away may be first to boot after a power cut: give the one with newer memory its time.
    if holder.heard_at is None or (other.heard_since or 0) > holder.heard_at:
        wait_until = max(wait_until, last + policy.absent_wait)
    seen = " (it still reaches it)" if other.probe.get("peer_reachable") else ""
    silence = f"{holder.node} has been silent for {world.now - last:.0f} s{seen}"
    if policy.fence and world.now < wait_until and other.fit and other.probe.get("peer_reachable") is False:
        return _fence(record, holder, silence, world, policy)
    if world.now < wait_until:
        return Decision(record, "silent", f"{silence}; {wait_until - world.now:.0f} s until its lease is surely over")
    if not other.fit:
        return Decision(record, "nobody_fit", f"{silence} and {other.node} is not fit")
    return _grant(record, other.node, world, policy, "failing_over", silence)


def _fence(record: Record, holder: Sighting, reason: str, world: World, policy: Policy) -> Decision:
    if record.pause is not None or policy.observe:
        return Decision(record, "silent", f"{reason}; it is not fenced now")
    actions = () if holder.node in world.busy else (Action("fence", holder.node, record.epoch),)
    return Decision(record, "fencing", reason, actions)


def _given_up(record: Record) -> Record:
    return replace(record, target=None, prepared=False, rescue=False, move_by=None, move_reason=None)


def request_move(record: Record, to: str, by: str, reason: str, world: World, policy: Policy) -> tuple[Record, str]:
    """Ask for a switchover to node ``to``. Returns the record to store and, where it cannot be done, why ('' is yes).

    Asking for what already is changes nothing but ``home_hold``: a move to the standby by hand holds it there.
    """
    hold = to == policy.standby
    if record.holder == to:
        return replace(_given_up(record), home_hold=hold), ""
    if record.pause is not None:
        return record, f"the pair is paused by {record.pause.by}; 'dualjoe resume' first"
    target = world.sightings[to]
    if record.holder is None and not record.vacant:
        return record, "it is not yet known who is active; try again in a minute"
    if not target.heard:
        return record, f"{to} does not answer the witness"
    if not target.fit:
        return record, f"{to} is not fit: {', '.join(map(str, target.probe.get('unfit', []))) or 'no reason given'}"
    if record.target == to:  # asked for again: what is done already stays done
        return replace(record, home_hold=hold), ""
    wish = replace(_given_up(record), target=to, synced=False, move_by=by, move_reason=reason)
    return replace(wish, home_hold=hold), ""


def request_pause(
    record: Record, seconds: float, by: str, reason: str, world: World, policy: Policy
) -> tuple[Record, str]:
    """Ask for a pause of so many seconds, or for another end of the one there is. The record to store and, where it
    cannot be done, why ('' is yes)."""
    holder = world.sightings.get(record.holder or "")
    if holder is None or not holder.heard or not holder.active or record.target is not None or world.busy:
        return record, "Joe is not served by a node that answers, or a move is under way; see 'dualjoe status'"
    other = world.sightings[policy.other(holder.node)]
    if not other.heard:
        told = f"{other.node} does not answer, and a pause needs its word that it will not take over"
        return record, f"{told}; without it nobody takes over anyway"
    return replace(record, pause=Pause(world.wall + seconds, by, reason)), ""


def request_resume(record: Record) -> Record:
    """End the pause, if there is one."""
    return replace(record, pause=None)


def declare_off(record: Record, node: str, world: World) -> tuple[Record, str]:
    """An operator says that a node has no power, and will not get it back unseen. The record to store and, where that
    cannot be, why ('' is yes)."""
    if record.holder != node:
        return record, f"{node} holds no lease, so nobody waits for it"
    if world.sightings[node].heard or world.sightings[node].failures == 0:
        return record, f"{node} answers, so it is not off"
    return on_revoked(record, node, record.epoch), ""


def on_revoked(record: Record, node: str, epoch: int) -> Record:
    """The node confirmed that its gateway is stopped and that ``epoch`` is over for it; or it is off for certain."""
    if record.holder != node or record.epoch != epoch:
        return record
    return replace(record, holder=None, vacant=True)


def on_synced(record: Record, node: str, good: bool, policy: Policy) -> Record:
    """A sync of a move ended. Without it a planned move is taken back: nothing remembered is lost for tidiness. A
    rescue goes on with the memory that the target has, as Joe cannot be served where he was."""
    if record.target != node:
        return record
    if not record.vacant:
        return replace(record, prepared=True) if good else _given_up(record)
    if good or record.rescue:
        return replace(record, synced=True)
    return replace(record, target=policy.other(node), synced=True, move_reason=f"sync to {node} failed; rolled back")


def on_grant_failed(record: Record, node: str, epoch: int, world: World, policy: Policy) -> Record:
    """The node answered that its gateway did not become ready, is stopped, and that its lease is dropped. The other one
    is tried; where nobody is to be moved, the same one again."""
    if record.holder != node or record.epoch != epoch:
        return record
    stays = policy.observe or record.pause is not None
    return replace(
        record,
        holder=None,
        vacant=True,
        target=node if stays else policy.other(node),
        synced=True,
        move_reason=f"the gateway on {node} did not become ready",
        failovers=_with_failover(record, world),
    )
