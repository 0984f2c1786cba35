"""Which messages people get, and when."""

from __future__ import annotations

from datetime import datetime
from itertools import accumulate, repeat

import pytest
from dualjoe import notices
from dualjoe.notices import BEGUN, LASTS, OVER, Notice, Quiet, Rules, Waiting

NOON = datetime(2026, 11, 26, 12, 0).timestamp()  # noqa: DTZ001 - local, as people are told
NIGHT = Quiet.parse("22:00-07:00")


def local(hour: int, minute: int = 0, second: int = 0) -> datetime:
    return datetime(2026, 11, 26, hour, minute, second)  # noqa: DTZ001


def waits(*told: Notice, every: float = 60, ago: float = 0) -> list[Waiting]:
    """Notices that came up one after the other, the first at 12:00."""
    return [Waiting(n, notice, NOON + (n - 1) * every, (n - 1) * every - ago) for n, notice in enumerate(told, 1)]


def trouble(key: str, phase: str, text: str = "") -> Notice:
    return Notice(text or f"{key} {phase}.", key=key, phase=phase)


def sent(waiting: list[Waiting], wall: float = NOON + 3600, limit: int = notices.LIMIT) -> list[str]:
    """All messages that they leave in."""
    texts = []
    while waiting:
        number, text = notices.message(waiting, "joe", wall, limit)
        texts.append(text)
        waiting = [each for each in waiting if each.number > number]
    return texts


# When


def test_what_can_wait_waits_for_others_and_what_is_urgent_does_not() -> None:
    can_wait, urgent = waits(Notice("rain")), waits(Notice("fire", urgent=True))
    assert notices.wait(can_wait, Rules(), [], 0, local(12)) == 5
    assert notices.wait(can_wait, Rules(), [], 5, local(12)) == 0
    assert notices.wait(urgent, Rules(), [], 0, local(12)) == 0
    assert notices.wait(waits(Notice("rain"), Notice("fire", urgent=True)), Rules(), [], 0, local(12)) == 0


@pytest.mark.parametrize(
    ("hours", "now", "left"),
    [
        ("22:00-07:00", local(21, 59, 59), 0),
        ("22:00-07:00", local(22), 9 * 3600),
        ("22:00-07:00", local(23, 59, 30), 7 * 3600 + 30),
        ("22:00-07:00", local(6, 59, 59), 1),
        ("22:00-07:00", local(7), 0),
        ("12:15-13:00", local(12, 30), 1800),
        ("12:15-13:00", local(13), 0),
        ("00:00-23:59", local(0), 86340),
    ],
)
def test_quiet_hours(hours: str, now: datetime, left: float) -> None:
    assert Quiet.parse(hours).left(now) == left


@pytest.mark.parametrize("text", ["", "22-7", "22:00-22:00", "24:00-07:00", "22:00-07:60", "2:00-7:00", "22:00 07:00"])
def test_what_are_no_quiet_hours(text: str) -> None:
    with pytest.raises(ValueError, match="two different times"):
        Quiet.parse(text)


def test_only_what_is_urgent_disturbs_in_quiet_hours() -> None:
    rules = Rules(quiet=NIGHT)
    assert notices.wait(waits(Notice("rain"), ago=100), rules, [], 0, local(23)) == 8 * 3600
    assert notices.wait(waits(Notice("fire", urgent=True)), rules, [], 0, local(23)) == 0
    assert notices.wait(waits(Notice("rain"), ago=100), rules, [], 0, local(12)) == 0


@pytest.mark.parametrize("jump", [-3e9, -86400, 86400, 3e9])
def test_a_wall_clock_that_jumps_holds_nothing_up_for_longer_than_the_quiet_hours(jump: float) -> None:
    now = datetime.fromtimestamp(NOON + jump)  # noqa: DTZ006
    longest = notices.wait(waits(Notice("rain"), ago=100), Rules(quiet=NIGHT), [], 0, now)
    assert longest <= 9 * 3600
    assert notices.wait(waits(Notice("rain"), ago=100), Rules(), [], 0, now) == 0
    number, text = notices.message(waits(Notice("rain")), "joe", NOON + jump)
    assert number == 1
    assert "rain" in text


def test_not_more_messages_leave_in_a_minute_than_the_rate_allows() -> None:
    """And half of them are kept for what is urgent."""
    rules, urgent, can_wait = Rules(per_minute=4), waits(Notice("fire", urgent=True)), waits(Notice("rain"), ago=100)
    assert notices.wait(can_wait, rules, [10.0], 30, local(12)) == 0
    assert notices.wait(can_wait, rules, [10.0, 20.0], 30, local(12)) == 40
    assert notices.wait(urgent, rules, [10.0, 20.0], 30, local(12)) == 0
    assert notices.wait(urgent, rules, [10.0, 20.0, 21.0, 22.0], 30, local(12)) == 40
    assert notices.wait(urgent, rules, [10.0, 20.0, 21.0, 22.0], 70, local(12)) == 0
    assert notices.wait(can_wait, Rules(per_minute=1), [], 30, local(12)) == 0


# In which messages


def test_one_that_is_told_at_once_is_told_as_it_is() -> None:
    assert sent(waits(Notice("rain")), NOON) == ["[joe] rain"]
    assert sent(waits(Notice("rain")), NOON + 61) == ["[joe] 12:00: rain"]
    assert sent(waits(Notice("rain")), NOON + 86400) == ["[joe] 2026-11-26 12:00: rain"]


def test_what_waited_together_is_one_message_in_its_order() -> None:
    waiting = waits(Notice("rain"), trouble("job pc-a backup", BEGUN), Notice("fire", urgent=True))
    assert sent(waiting) == [
        "[joe] 3 notices, 1 of them urgent (!):\n12:00 rain\n12:01 job pc-a backup begun.\n12:02 ! fire"
    ]


def test_a_trouble_that_began_and_ended_meanwhile_is_one_line_with_both_times() -> None:
    waiting = waits(trouble("lost pc-b", BEGUN, "pc-b is silent."), trouble("lost pc-b", OVER, "Over: pc-b answers."))
    assert sent(waiting) == ["[joe] 12:00 to 12:01: pc-b is silent. Over: pc-b answers."]
    begun, over = waiting
    other = Waiting(2, Notice("rain"), NOON, 0)
    (text,) = sent([begun, other, Waiting(3, over.notice, over.at, 0)])
    assert text == "[joe] 2 notices:\n12:00 to 12:01 pc-b is silent. Over: pc-b answers.\n12:00 rain"


@pytest.mark.parametrize(
    ("phases", "told"),
    [
        ((BEGUN, LASTS, LASTS), ["begun"]),
        ((LASTS, LASTS), ["lasts"]),
        ((LASTS, OVER), ["over"]),
        ((LASTS, LASTS, OVER, BEGUN), ["over", "begun"]),
        ((BEGUN, LASTS, OVER, BEGUN, OVER, BEGUN), ["begun. x over", "begun. x over", "begun"]),
        ((OVER, OVER), ["over", "over"]),
    ],
)
def test_reminders_that_nobody_got_are_not_told_one_by_one(phases: tuple[str, ...], told: list[str]) -> None:
    (text,) = sent(waits(*(trouble("x", phase) for phase in phases)))
    lines = text.splitlines()[1:] or [text]
    assert [line.partition("x ")[2].removesuffix(".") for line in lines] == told


def test_a_message_is_never_longer_than_telegram_takes_and_nothing_is_missing() -> None:
    told = [Notice(f"{n} {'🦆' * 100}") for n in range(200)]
    texts = sent(waits(*told, every=1))
    assert all(notices.length(text) <= 4096 for text in texts)
    assert len(texts) == 11
    lines = [line for text in texts for line in text.splitlines()[1:]]
    assert [int(line.split()[1]) for line in lines] == list(range(200))


def test_an_hour_of_three_flapping_troubles_is_few_messages() -> None:
    keys = [f"job pc-a {name}" for name in ("backup", "memory-sync", "config-check")]
    flaps = [trouble(key, phase) for _ in range(60) for key in keys for phase in (BEGUN, OVER)]
    assert len(sent(waits(*flaps, every=10))) <= 4


def test_weeks_of_reminders_are_one_line() -> None:
    reminders = [trouble("x", BEGUN), *repeat(trouble("x", LASTS), 2000), trouble("x", OVER)]
    texts = sent(waits(*reminders, every=3600), NOON + 2002 * 3600)
    assert len(texts) <= 5


def test_what_is_too_long_says_so_and_keeps_its_end() -> None:
    (text,) = sent(waits(Notice(f"start {'x' * 9000} Runbook: here")))
    assert notices.length(text) <= 4096
    assert text.startswith("[joe] 12:00: start x")
    assert "are left out, and are in the journal" in text
    assert text.endswith(" Runbook: here")
    (ducks,) = sent(waits(Notice("🦆" * 5000)))
    assert notices.length(ducks) <= 4096


@pytest.mark.parametrize("limit", [800, 1000, 4096])
def test_all_of_any_queue_is_told_once_and_in_order(limit: int) -> None:
    sizes = list(accumulate(range(40), lambda before, n: (before * 7 + n) % 900))
    told = [Notice(f"<{n}>{'y' * size}") for n, size in enumerate(sizes)]
    whole = "\n".join(sent(waits(*told), limit=limit))
    places = [whole.index(f"<{n}>") for n in range(40)]
    assert places == sorted(places)
    assert all(whole.count(f"<{n}>") == 1 for n in range(40))


def test_no_text_can_be_refused_for_what_is_in_it() -> None:
    assert notices.clean("a\x00b\ud800c\nd\u202e") == "a b\ufffdc\nd "
