"""The timing of leases, and which combinations are safe.

All figures are seconds. A lease ends at stamp + ttl on the node's clock; the witness may grant the other node only
``quiet_seconds`` after it last sent anything that can make or lengthen a lease.
"""

from __future__ import annotations

from dataclasses import dataclass

DRIFT = 0.01  # two clocks may run this much apart; quartz is off by less than 0.0002
MIN_SLACK = 0.25  # seconds: one look of the guard, and the kill


@dataclass(frozen=True)
class Timing:
    """The figures that guard and watchdog must agree on; the defaults are the design's."""

    heartbeat: float = 10.0  # between two probes of a node
    full_check: float = 30.0  # between two full checks of the gateway
    ttl: float = 30.0  # length of a lease from its stamp
    margin: float = 5.0  # what the witness waits beyond the lease
    retry: float = 2.0  # a failed probe is repeated after this
    confirm_checks: int = 2  # failed checks that make a silence or a sickness certain
    verb_timeout: float = 4.0  # an answer to a short verb must be here by then
    stop: float = 6.0  # the guard begins a graceful stop this long before the deadline
    guard_watchdog: float = 3.0  # WatchdogSec of the guard's unit
    slack: float = 1.0  # for a kill to take effect, and for the scheduler of a busy machine

    @property
    def quiet_seconds(self) -> float:
        """From the last renewal or grant sent until the lease is over, on any clock, whatever became of the node."""
        return self.ttl * (1 + DRIFT) + self.margin


def mistakes(timing: Timing) -> list[str]:
    """Why this combination is unsafe or cannot work: one message per broken rule, naming both sides."""
    t = timing
    found = [
        f"{name} is {value:g} s; it must be a number above 0"
        for name, value in vars(t).items()
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < float("inf")
    ]
    if found:
        return found
    last_chance = 2 * t.heartbeat + t.stop
    if last_chance > t.ttl:
        found.append(
            f"heartbeat x 2 + stop is {last_chance:g} s, ttl is {t.ttl:g} s: one lost renewal would stop a healthy"
            " gateway; lower heartbeat or stop, or raise ttl"
        )
    # A guard that hangs is noticed by systemd within guard_watchdog.
    worst = t.guard_watchdog + t.slack
    if t.margin < worst:
        found.append(
            f"margin is {t.margin:g} s, the guard's worst case (guard_watchdog {t.guard_watchdog:g} s + slack"
            f" {t.slack:g} s) is {worst:g} s: two gateways could overlap; raise margin or lower guard_watchdog"
        )
    if t.slack < MIN_SLACK:
        found.append(f"slack ({t.slack:g} s) must not be shorter than {MIN_SLACK:g} s: the guard looks every 0.2 s")
    if t.full_check < t.heartbeat:
        found.append(f"full_check ({t.full_check:g} s) must not be shorter than heartbeat ({t.heartbeat:g} s)")
    if t.verb_timeout + t.retry > t.heartbeat:
        found.append(
            f"verb_timeout + retry is {t.verb_timeout + t.retry:g} s, heartbeat is {t.heartbeat:g} s: a failed check"
            " could not be repeated within its heartbeat"
        )
    if t.stop >= t.ttl:
        found.append(f"stop ({t.stop:g} s) must be shorter than ttl ({t.ttl:g} s)")
    return found
