"""What a guard accepts. Times are in seconds of the node's boot clock."""

from __future__ import annotations

import pytest
from dualjoe import lease
from dualjoe.leap import LEAP, leap
from dualjoe.lease import SECOND, Lease, NodeState
from dualjoe.wire import Refused, Request, Stamp

BOOT = "6c7d3d9e-0000-4000-8000-000000000001"
STOP = 6 * SECOND
NAMES = ("pc-a", "pc-b")


def at(seconds: float) -> int:
    return round(seconds * SECOND)


def asked(verb: str, epoch: int, stamp: float, boot: str = BOOT) -> Request:
    return Request(verb, epoch, Stamp(boot, at(stamp)), 30.0)


def node(epoch: int = 4, deadline: float | None = None, ending: bool = False) -> NodeState:
    held = None if deadline is None else Lease(epoch, at(deadline), ending)
    return NodeState(BOOT, epoch, epoch, held)


def refusal(call: object, *arguments: object) -> str:
    with pytest.raises(Refused) as caught:
        call(*arguments)  # type: ignore[operator]
    return caught.value.code


def test_a_grant_runs_from_its_stamp_not_from_its_arrival() -> None:
    granted = lease.grant(node(4), asked("grant", 5, 100), at(110), STOP)
    assert granted == NodeState(BOOT, 5, 5, Lease(5, at(130)))


@pytest.mark.parametrize("epoch", [1, 3, 4])
def test_a_grant_needs_a_higher_epoch(epoch: int) -> None:
    assert refusal(lease.grant, node(4), asked("grant", epoch, 100), at(101), STOP) == "stale_epoch"


def test_a_grant_that_took_too_long_is_refused() -> None:
    assert refusal(lease.grant, node(4), asked("grant", 5, 100), at(124), STOP) == "late"
    assert lease.grant(node(4), asked("grant", 5, 100), at(123.9), STOP).lease is not None


def test_an_active_node_takes_no_grant() -> None:
    assert refusal(lease.grant, node(4, 120), asked("grant", 5, 100), at(101), STOP) == "active"


@pytest.mark.parametrize("verb", ["grant", "renew"])
def test_stamps_of_another_boot_or_of_the_future_count_for_nothing(verb: str) -> None:
    call = {
        "grant": lambda request: lease.grant(node(4), request, at(100), STOP),
        "renew": lambda request: lease.renew(node(5, 110), request, at(100)),
    }[verb]
    assert refusal(call, asked(verb, 5, 99, "6c7d3d9e-0000-4000-8000-000000000002")) == "other_boot"
    assert refusal(call, asked(verb, 5, 100.1)) == "bad_stamp"


def test_a_renewal_lengthens_and_a_late_or_repeated_one_adds_nothing() -> None:
    renewed = lease.renew(node(4, 120), asked("renew", 4, 100), at(101))
    assert renewed.lease == Lease(4, at(130))
    assert lease.renew(renewed, asked("renew", 4, 100), at(125)) == renewed
    assert lease.renew(renewed, asked("renew", 4, 90), at(125)) == renewed


def test_renewals_without_that_lease_are_refused() -> None:
    assert refusal(lease.renew, node(4), asked("renew", 4, 100), at(101)) == "not_active"
    assert refusal(lease.renew, node(4, 120), asked("renew", 5, 100), at(101)) == "stale_epoch"
    assert refusal(lease.renew, node(4, 120), asked("renew", 3, 100), at(101)) == "stale_epoch"


def test_once_the_stop_has_begun_no_renewal_takes_it_back() -> None:
    ending = lease.begin_end(node(4, 120))
    assert refusal(lease.renew, ending, asked("renew", 4, 119), at(119)) == "ending"


def test_a_revoke_burns_its_epoch_so_that_a_late_grant_of_it_is_refused() -> None:
    revoked = lease.revoke(node(4), Request("revoke", 5))
    assert (revoked.epoch, revoked.term, revoked.lease) == (5, 4, None)
    assert refusal(lease.grant, revoked, asked("grant", 5, 100), at(101), STOP) == "stale_epoch"


def test_a_revoke_of_the_past_is_refused_and_one_repeated_is_not() -> None:
    assert refusal(lease.revoke, node(4, 120), Request("revoke", 3)) == "stale_epoch"
    once = lease.revoke(node(4, 120), Request("revoke", 4))
    assert lease.revoke(once, Request("revoke", 4)) == once


@pytest.mark.parametrize(
    ("now", "duty"), [(100, "run"), (113.9, "run"), (114, "stop"), (119.9, "stop"), (120, "kill"), (500, "kill")]
)
def test_the_duty_follows_the_deadline(now: float, duty: str) -> None:
    assert lease.duty(node(4, 120), at(now), STOP) == duty


def test_no_lease_no_gateway_and_an_ending_one_stays_ending() -> None:
    assert lease.duty(node(4), at(1), STOP) == "kill"
    assert lease.duty(node(4, 120, ending=True), at(1), STOP) == "stop"


# Promises


def promised(state: NodeState, epoch: int, now: float, ttl: float = 30) -> NodeState:
    return lease.promise(state, Request("promise", epoch, None, ttl), at(now), 5)


def test_a_promise_binds_longer_than_the_lease_it_lets_go_on() -> None:
    state = promised(node(4), 5, 100)
    assert (state.epoch, state.term, state.lease) == (5, 4, None)
    assert lease.promise_left(state, at(100)) == 30 * 1.01 + 5
    assert refusal(lease.grant, state, asked("grant", 6, 130), at(135.2), STOP) == "promised"
    assert lease.grant(state, asked("grant", 6, 130), at(135.3), STOP).lease is not None


def test_a_shorter_promise_takes_nothing_back() -> None:
    state = promised(promised(node(4), 5, 100), 5, 101, ttl=1)
    assert lease.promise_left(state, at(100)) == 30 * 1.01 + 5


def test_an_active_node_promises_nothing() -> None:
    assert refusal(promised, node(4, 120), 5, 100) == "active"


def test_nobody_promises_to_a_term_that_is_over() -> None:
    assert refusal(promised, node(4), 3, 100) == "stale_epoch"


@pytest.mark.parametrize(("epoch", "term", "free"), [(4, 4, True), (5, 4, False), (0, 0, True)])
def test_a_guard_that_starts_keeps_the_word_it_may_have_given(epoch: int, term: int, free: bool) -> None:
    state = lease.started(BOOT, epoch, term, at(100), lease.hold_ns(30, 5))
    assert (lease.promise_left(state, at(100)) == 0) is free
    assert lease.promise_left(state, at(136)) == 0


def test_a_promise_counts_from_when_it_was_asked_for() -> None:
    extended = lease.extend(node(4, 110), 4, at(100), 30).lease
    assert extended is not None
    assert extended.deadline == at(130)


@pytest.mark.parametrize("state", [node(4), node(4, 110, ending=True), node(5, 110)])
def test_a_promise_brings_back_nothing_that_is_over(state: NodeState) -> None:
    assert lease.extend(state, 4, at(100), 30) == state


def test_a_promise_shortens_nothing() -> None:
    assert lease.extend(node(4, 140), 4, at(100), 30) == node(4, 140)


# Pauses. A lease is for 30 s here.

TTL, MARGIN = 30.0, 5.0


def pausing(epoch: int, stamp: float, seconds: float = 3600) -> Request:
    return Request("pause", epoch, Stamp(BOOT, at(stamp)), seconds)


def paused(state: NodeState, request: Request, now: float) -> NodeState:
    return lease.pause(state, request, at(now), TTL, MARGIN)


def test_in_a_pause_the_holder_runs_on_and_the_passive_node_takes_no_grant() -> None:
    active = paused(node(5, 120), pausing(5, 100), 101)
    assert lease.duty(active, at(3600), STOP) == "run"
    assert lease.duty(active, at(3700), STOP) == "kill"
    assert lease.paused_left(active, at(101)) == 3599
    assert lease.renew(active, asked("renew", 5, 110), at(111)).lease == active.lease
    passive = paused(node(4), pausing(5, 100), 101)
    assert (passive.epoch, passive.term) == (5, 4)
    assert refusal(lease.grant, passive, asked("grant", 6, 3700), at(3701), STOP) == "promised"
    over = 101 + 3600 * 1.01 + MARGIN  # as long as the holder's lease may run, on any clock
    assert refusal(lease.grant, passive, asked("grant", 6, over - 1), at(over - 0.1), STOP) == "promised"
    assert lease.grant(passive, asked("grant", 6, over), at(over), STOP).term == 6


def test_a_paused_node_that_boots_takes_no_grant_for_as_long_again() -> None:
    passive = paused(node(4), pausing(5, 100), 101)
    booted = lease.started(BOOT, passive.epoch, passive.term, at(7), 0, passive.hold)
    assert lease.paused_left(booted, at(7)) == 3600 * 1.01 + MARGIN
    assert refusal(lease.grant, booted, asked("grant", 6, 8), at(9), STOP) == "promised"


def test_after_a_pause_the_lease_is_an_ordinary_one() -> None:
    active = paused(node(5, 120), pausing(5, 100), 101)
    resumed = lease.resume(active, asked("resume", 5, 200), at(201), TTL)
    assert resumed.lease == Lease(5, at(230))
    passive = paused(node(4), pausing(5, 100), 101)
    free = lease.resume(passive, asked("resume", 5, 200), at(201), TTL)
    assert (free.hold, lease.promise_left(free, at(201)), free.epoch) == (0, 0, 5)


def test_a_promise_outlives_a_pause() -> None:
    promised = lease.promise(paused(node(4), pausing(5, 100), 101), asked("promise", 5, 0), at(190), MARGIN)
    resumed = lease.resume(promised, asked("resume", 5, 200), at(201), TTL)
    assert refusal(lease.grant, resumed, asked("grant", 6, 202), at(203), STOP) == "promised"


@pytest.mark.parametrize(
    ("state", "request_", "now", "code"),
    [
        (node(5, 120), pausing(5, 70), 101, "late"),
        (node(5, 120), pausing(4, 100), 101, "stale_epoch"),
        (node(5, 120, ending=True), pausing(5, 100), 101, "ending"),
        (node(6), pausing(5, 100), 101, "stale_epoch"),
        (node(6), pausing(6, 102), 101, "bad_stamp"),
    ],
)
def test_a_pause_that_is_late_or_of_another_term_is_refused(
    state: NodeState, request_: Request, now: float, code: str
) -> None:
    assert refusal(paused, state, request_, now) == code


def test_an_old_end_does_not_end_a_new_pause() -> None:
    passive = paused(node(4), pausing(5, 100), 101)
    assert refusal(lease.resume, passive, asked("resume", 5, 99), at(102), TTL) == "late"
    assert refusal(lease.resume, passive, asked("resume", 4, 102), at(103), TTL) == "stale_epoch"


# The operator's word.


def test_a_forced_term_has_no_end_and_an_epoch_that_nobody_else_can_have() -> None:
    forced = lease.force(node(4), at(100), *NAMES)
    assert forced.epoch == forced.term == leap(4, *NAMES, forced=True) > 4 + LEAP
    assert lease.duty(forced, at(10**7), STOP) == "run"
    assert lease.seconds_left(forced, at(100)) is None


def test_the_witness_s_first_renewal_makes_a_forced_term_an_ordinary_one() -> None:
    forced = lease.force(node(4), at(100), *NAMES)
    renewed = lease.renew(forced, asked("renew", forced.epoch, 500), at(501))
    assert renewed.lease == Lease(forced.epoch, at(530))


def test_who_has_given_its_word_is_not_forced_while_it_counts() -> None:
    promised = lease.promise(node(4), asked("promise", 5, 0), at(100), MARGIN)
    assert refusal(lease.force, promised, at(135), *NAMES) == "promised"
    assert lease.force(promised, at(135.4), *NAMES).lease is not None
    assert lease.force(paused(node(4), pausing(5, 100), 101), at(102), *NAMES).held_until == 0
    assert refusal(lease.force, node(4, 120), at(100), *NAMES) == "active"
