"""What a guard accepts. Times are in seconds of the node's boot clock."""

from __future__ import annotations

import pytest
from dualjoe import lease
from dualjoe.lease import SECOND, Lease, NodeState
from dualjoe.wire import Refused, Request, Stamp

BOOT = "6c7d3d9e-0000-4000-8000-000000000001"
STOP = 6 * SECOND


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
