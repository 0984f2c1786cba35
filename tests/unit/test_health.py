"""The verdict on the gateway, second by second."""

from __future__ import annotations

from dualjoe.health import Health, Limits, Reading, observe, started

LIMITS = Limits()
GOOD = Reading(True, True, True)
HUNG = Reading(True, False, False, "/healthz does not answer")
GONE = Reading(False, False, False)
UNREADY = Reading(True, True, False, "not ready: telegram")


def play(health: Health, reading: Reading, start: float, seconds: int) -> tuple[Health, list[float]]:
    restarts = []
    for second in range(seconds):
        health, restart = observe(health, reading, start + second, LIMITS)
        if restart:
            restarts.append(start + second)
            health = started(health, start + second)
    return health, restarts


def test_a_start_is_given_its_time_and_then_counts_as_hung() -> None:
    health = started(Health(), 0)
    health, restarts = play(health, HUNG, 1, 89)
    assert (health.state, restarts) == ("starting", [])
    _, restarts = play(health, HUNG, 90, 3)
    assert restarts == [92]


def test_a_channel_that_fails_is_unready_not_down() -> None:
    health, _ = observe(Health("ready"), UNREADY, 10, LIMITS)
    health, restarts = play(health, UNREADY, 11, 300)
    assert (health.state, health.detail, restarts) == ("unready", "not ready: telegram", [])


def test_one_slow_answer_is_not_an_outage() -> None:
    health, restarts = play(Health("ready"), HUNG, 10, 2)
    health, _ = observe(health, GOOD, 12, LIMITS)
    assert (health.state, health.bad, restarts) == ("ready", 0, [])


def test_a_process_that_is_gone_is_restarted_at_once() -> None:
    _, restart = observe(Health("ready"), GONE, 10, LIMITS)
    assert restart


def test_restarts_are_bounded_then_it_has_failed_then_it_is_tried_slowly() -> None:
    health, restarts = play(Health("ready"), GONE, 10, 3)
    assert restarts == [10, 11]
    assert health.state == "failed"
    health, restarts = play(health, GONE, 13, 120)
    assert restarts == [71, 131]


def test_restarts_are_forgotten_after_the_window() -> None:
    health = Health("ready", restarts=(0.0, 1.0))
    _, restart = observe(health, GONE, 700, LIMITS)
    assert restart
