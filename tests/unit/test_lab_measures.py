"""What the chaos scenario measures by: who was ready when, and who ran when."""

from __future__ import annotations

import pytest
from lives import Entry, lives, overlaps, without
from pair import seconds_without

Answers = dict[str, list[tuple[float, bool]]]


def answers(**told: str) -> Answers:
    """Answers every 0.2 s from 100 on: + ready, - not ready, a blank for none."""
    return {
        node: [(100 + 0.2 * number, mark == "+") for number, mark in enumerate(marks) if mark != " "]
        for node, marks in told.items()
    }


@pytest.mark.parametrize(
    ("told", "without"),
    [
        (answers(a="++++++++++"), 0.0),
        (answers(a="----------"), 2.0),
        (answers(a="+++-------"), 1.4),
        (answers(a="-----+++++"), 1.0),
        (answers(a="+++-------", b="-----+++++"), 0.4),  # a move
        (answers(a="++++------", b="--++++++++"), 0.0),
        (answers(a="+", b="-----+++++"), 0.4),  # a dead machine's last answer tells of 0.6 s
        (answers(), 2.0),
        ({"a": [], "b": []}, 2.0),
    ],
)
def test_seconds_without(told: Answers, without: float) -> None:
    assert seconds_without(told, 100.0, 102.0) == pytest.approx(without)


def test_answers_before_and_after_the_time_in_question_count_for_what_they_tell_of_it() -> None:
    assert seconds_without({"a": [(99.9, True), (100.1, False), (103.0, True)]}, 100, 102) == pytest.approx(1.9)


def test_the_first_answer_after_a_long_silence_is_not_of_the_silence() -> None:
    assert seconds_without({"a": [(100.0, True), (105.0, True)]}, 100, 106) == pytest.approx(4.8)


START, OVER = True, False


def told(*entries: tuple[float, bool]) -> list[Entry]:
    return [Entry(at, starting) for at, starting in entries]


def test_a_life_is_from_a_start_to_the_end_of_the_last_process() -> None:
    assert lives(told((1, START), (3, OVER), (5, START), (6, OVER)), [], []) == [(1, 3), (5, 6)]


def test_a_life_without_an_end_goes_on() -> None:
    assert lives(told((1, START)), [], []) == [(1, float("inf"))]


def test_a_life_ends_with_its_machine() -> None:
    assert lives(told((1, START), (9, START)), [4], []) == [(1, 4), (9, float("inf"))]


def test_what_is_frozen_does_not_live() -> None:
    assert lives(told((1, START), (9, OVER)), [], [(3, 8)]) == [(1, 3), (8, 9)]


def test_an_overlap_is_seen() -> None:
    assert overlaps([(1, 3), (6, 9)], [(2, 2.5), (4, 7)], since=0) == [(2, 2.5), (6, 7)]


def test_one_after_the_other_is_none() -> None:
    assert overlaps([(1, 3)], [(3, 5)], since=0) == []


def test_what_is_over_already_is_not_counted_again() -> None:
    assert overlaps([(1, 3)], [(2, 5)], since=2.5) == [(2.5, 3)]
    assert overlaps([(1, 3)], [(2, 5)], since=3) == []


def test_what_is_allowed_is_cut_out() -> None:
    assert without([(1, 3), (6, 9)], [(2, 7)]) == [(1, 2), (7, 9)]
    assert without([(1, 3)], [(0, 4)]) == []
