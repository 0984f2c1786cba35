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
