"""The witness's table, row by row."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dualjoe import takeover
from dualjoe.leap import LEAP, leap
from dualjoe.pair import Action, Pause, Policy, Record, Sighting, World
from dualjoe.takeover import (
    decide,
    declare_off,
    holddown,
    on_grant_failed,
    on_revoked,
    on_synced,
    request_move,
    request_pause,
    request_resume,
    unwritten,
)

A, B = "pc-a", "pc-b"
POLICY = Policy(A, B)
QUIET = POLICY.timing.quiet_seconds
NOW = 10_000.0


def seen(node: str, role: str = "passive", epoch: int = 7, **more: Any) -> Sighting:
    probe = {"role": role, "epoch": epoch, "term": more.pop("term", epoch), "fit": more.pop("fit", True)}
    probe |= {"promise_left": more.pop("promise_left", 0), "paused_left": more.pop("paused_left", 0)}
    probe |= {"peer_reachable": more.pop("peer_reachable", True)}
    probe |= {"gateway": {"state": more.pop("gateway", "ready" if role == "active" else "stopped")}}
    probe |= {"unfit": [] if probe["fit"] else ["disk is full"]}
    return Sighting(node, heard_at=NOW - 1, heard_since=NOW - 900, probe=probe, fit_since=NOW - 100, **more)


def gone(node: str, **more: Any) -> Sighting:
    return replace(seen(node, **more), heard_at=NOW - 50, failures=5)


def world(a: Sighting, b: Sighting, **more: Any) -> World:
    more.setdefault("last_lease_sent_at", NOW - 1)
    return World(NOW, more.pop("started_at", NOW - 5000), {A: a, B: b}, **more)


HOME = Record(7, A)
AWAY = Record(7, B)
EMPTY = Record()


FAR = leap(7, B, A, forced=False)


@pytest.mark.parametrize(
    ("record", "the_world", "situation", "actions"),
    [
        # the holder is active
        (HOME, world(seen(A, "active"), seen(B, epoch=3)), "home", [Action("renew", A, 7)]),
        (HOME, world(seen(A, "active"), gone(B)), "home", [Action("renew", A, 7)]),
        (AWAY, world(seen(A, epoch=3), seen(B, "active")), "away", [Action("renew", B, 7)]),
        (
            AWAY,
            world(replace(seen(A), fit_since=NOW - 301), seen(B, "active")),
            "failing_back",
            [Action("renew", B, 7), Action("sync", A)],
        ),
        (
            replace(AWAY, home_hold=True),
            world(replace(seen(A), fit_since=NOW - 999), seen(B, "active")),
            "away",
            [Action("renew", B, 7)],
        ),
        (AWAY, world(replace(gone(A), fit_since=NOW - 999), seen(B, "active")), "away", [Action("renew", B, 7)]),
        # it is still starting, and nothing is asked of it meanwhile
        (
            AWAY,
            world(replace(seen(A), fit_since=NOW - 301), seen(B, "active"), busy={B: "grant"}),
            "granting",
            [Action("renew", B, 7)],
        ),
        # its gateway is sick
        (HOME, world(seen(A, "active", gateway="failed"), seen(B)), "failing_over", [Action("revoke", A, 7)]),
        (HOME, world(seen(A, "active", sick=2), seen(B)), "failing_over", [Action("revoke", A, 7)]),
        (HOME, world(seen(A, "active", sick=1), seen(B)), "home", [Action("renew", A, 7)]),
        (HOME, world(seen(A, "active", gateway="failed"), gone(B)), "sick_alone", [Action("renew", A, 7)]),
        (HOME, world(seen(A, "active", gateway="failed"), seen(B, fit=False)), "sick_alone", [Action("renew", A, 7)]),
        # the holder lost its lease
        (HOME, world(seen(A), seen(B)), "regranting", [Action("grant", A, 8)]),
        (HOME, world(seen(A), seen(B), busy={A: "grant"}), "granting", []),
        (HOME, world(seen(A, fit=False), seen(B)), "failing_over", [Action("revoke", A, 7)]),
        (HOME, world(seen(A, fit=False), seen(B, fit=False)), "nobody_fit", []),
        # the holder is silent
        (HOME, world(replace(seen(A, "active"), failures=1), seen(B)), "missed", []),
        (HOME, world(gone(A), seen(B), last_lease_sent_at=NOW - QUIET + 0.1), "silent", []),
        (HOME, world(gone(A), seen(B), last_lease_sent_at=NOW - QUIET), "failing_over", [Action("grant", B, 8)]),
        (HOME, world(gone(A), gone(B), last_lease_sent_at=NOW - 99), "alone", []),
        (HOME, world(gone(A), seen(B, fit=False), last_lease_sent_at=NOW - 99), "nobody_fit", []),
        # it is silent here, but the other node has promised it to wait
        (HOME, world(gone(A), seen(B, promise_left=20), last_lease_sent_at=NOW - 99), "promised", []),
        (
            HOME,
            world(gone(A), seen(B, promise_left=1), last_lease_sent_at=NOW - 99),
            "failing_over",
            [Action("grant", B, 8)],
        ),
        # a node goes on in a term that is over
        (Record(9, B), world(seen(A, "active"), seen(B, epoch=9)), "stray", [Action("revoke", A, 9)]),
        (Record(9, B), world(seen(A, "active"), gone(B, epoch=9)), "stray", [Action("revoke", A, 9)]),
        # nobody knows who holds
        (EMPTY, world(seen(A, "active"), seen(B)), "home", [Action("renew", A, 7)]),
        (EMPTY, world(seen(A), seen(B), started_at=NOW - 10, last_lease_sent_at=None), "settling", []),
        (
            EMPTY,
            world(seen(A, epoch=0), seen(B, epoch=0), last_lease_sent_at=None),
            "granting",
            [Action("grant", A, 1)],
        ),
        (EMPTY, world(seen(A, epoch=6), seen(B), last_lease_sent_at=None), "granting", [Action("grant", B, 8)]),
        (
            EMPTY,
            world(gone(A), seen(B), started_at=NOW - 100, last_lease_sent_at=None),
            "waiting_for_both",
            [],
        ),
        (
            EMPTY,
            world(gone(A), seen(B), started_at=NOW - 180, last_lease_sent_at=None),
            "granting",
            [Action("grant", B, FAR)],
        ),
    ],
)
def test_the_table(record: Record, the_world: World, situation: str, actions: list[Action]) -> None:
    decision = decide(record, the_world, POLICY)
    assert (decision.situation, list(decision.actions)) == (situation, actions)
    assert decision.reason


def test_a_grant_is_recorded_before_it_is_sent() -> None:
    decision = decide(HOME, world(gone(A), seen(B), last_lease_sent_at=NOW - 99), POLICY)
    assert decision.record == Record(8, B, quiet=QUIET, failovers=(0.0,))


def test_after_a_start_of_the_witness_the_wait_is_kept_and_the_holder_is_renewed_without_it() -> None:
    fresh = {"started_at": NOW - 1, "last_lease_sent_at": None}
    assert decide(HOME, world(gone(A), seen(B), **fresh), POLICY).actions == ()
    assert decide(HOME, world(seen(A, "active"), seen(B), **fresh), POLICY).actions == (Action("renew", A, 7),)
    assert decide(HOME, world(seen(A), seen(B), **fresh), POLICY).actions == (Action("grant", A, 8),)


def test_after_a_power_cut_the_first_to_boot_waits_for_the_one_with_newer_memory() -> None:
    never = Sighting(A, failures=9)
    for age, actions in ((100, ()), (181, (Action("grant", B, 8),))):
        decision = decide(HOME, world(never, seen(B), started_at=NOW - age, last_lease_sent_at=None), POLICY)
        assert decision.actions == actions
    # The witness stayed up: B was away as well and came back before A.
    back = replace(seen(B), heard_since=NOW - 10)
    assert decide(HOME, world(gone(A), back, last_lease_sent_at=NOW - 99), POLICY).actions == ()


def test_a_planned_move_step_by_step() -> None:
    record, refused = request_move(
        HOME, B, "operator", "maintenance", world(seen(A, "active"), seen(B, term=3)), POLICY
    )
    assert refused == ""
    both = world(seen(A, "active"), seen(B, term=3))
    step = decide(record, both, POLICY)
    assert step.actions == (Action("renew", A, 7), Action("sync", B)), "Joe serves while most of it is fetched"
    assert decide(step.record, replace(both, busy={B: "sync"}), POLICY).actions == (Action("renew", A, 7),)
    step = decide(on_synced(step.record, B, True, POLICY), both, POLICY)
    assert step.actions == (Action("revoke", A, 7),)
    record = on_revoked(step.record, A, 7)
    both = world(seen(A), seen(B, term=3))
    step = decide(record, both, POLICY)
    assert step.actions == (Action("sync", B),)
    assert decide(step.record, replace(both, busy={B: "sync"}), POLICY).actions == ()
    step = decide(on_synced(step.record, B, True, POLICY), both, POLICY)
    assert step.actions == (Action("grant", B, 8),)
    assert step.record == Record(8, B, home_hold=True, quiet=QUIET)


def test_joe_is_not_stopped_for_a_node_that_is_bound_by_a_promise() -> None:
    record = replace(HOME, target=B, prepared=True, move_by="ada")
    bound = world(seen(A, "active"), seen(B, term=3, promise_left=5))
    step = decide(record, bound, POLICY)
    assert (step.situation, step.actions) == ("moving", (Action("renew", A, 7),))
    assert "pc-b is bound by its promise for 4 s more" in step.reason
    assert decide(step.record, replace(bound, now=NOW + 5), POLICY).actions == (Action("revoke", A, 7),)


def test_one_missed_check_is_no_reason_to_leave_the_memory_behind() -> None:
    record = Record(7, None, vacant=True, target=B, move_by="ada")
    newer = replace(seen(A), failures=1)
    assert decide(record, world(newer, seen(B, term=3)), POLICY).situation == "missed"
    assert decide(record, world(gone(A), seen(B, term=3)), POLICY).actions == (Action("grant", B, 8),)


def test_a_holder_whose_grant_never_arrived_does_not_go_before_newer_memory() -> None:
    record = Record(8, B)
    decision = decide(record, world(seen(A), seen(B, epoch=7, term=3)), POLICY)
    assert decision.actions == (Action("revoke", B, 8),)
    vacant = on_revoked(decision.record, B, 8)
    assert decide(vacant, world(seen(A), seen(B, epoch=8, term=3)), POLICY).actions == (Action("grant", A, 9),)
    assert decide(record, world(gone(A), seen(B, epoch=7, term=3)), POLICY).actions == (Action("grant", B, 9),)


def test_a_move_whose_sync_fails_is_taken_back() -> None:
    record = Record(7, None, vacant=True, target=A, move_by="witness")
    record = on_synced(record, A, False, POLICY)
    assert decide(record, world(seen(A, term=3), seen(B)), POLICY).actions == (Action("grant", B, 8),)


def test_a_move_whose_first_sync_fails_leaves_joe_where_he_is() -> None:
    record = Record(7, B, target=A, move_by="witness", move_reason="home again")
    assert on_synced(record, A, False, POLICY) == Record(7, B)


def test_a_rescue_whose_sync_fails_goes_on_with_the_memory_there_is() -> None:
    sick = decide(HOME, world(seen(A, "active", gateway="failed"), seen(B, term=3)), POLICY)
    vacant = on_revoked(sick.record, A, 7)
    both = world(seen(A), seen(B, term=3))
    assert decide(vacant, both, POLICY).actions == (Action("sync", B),), "what can be fetched is fetched"
    rescued = decide(on_synced(vacant, B, False, POLICY), both, POLICY)
    assert rescued.actions == (Action("grant", B, 8),)
    assert not rescued.record.rescue


def test_a_move_asked_for_in_a_rescue_is_a_planned_one() -> None:
    vacant = replace(HOME, holder=None, vacant=True, target=B, rescue=True)
    record, problem = request_move(vacant, A, "ada", "asked for", world(seen(A), seen(B, term=9)), POLICY)
    assert problem == ""
    assert decide(on_synced(record, A, False, POLICY), world(seen(A), seen(B, term=9)), POLICY).actions == (
        Action("grant", B, 8),
    )


def test_a_gateway_that_does_not_become_ready_is_replaced_by_the_other() -> None:
    record = on_grant_failed(Record(8, A), A, 8, world(seen(A), seen(B)), POLICY)
    assert decide(record, world(seen(A, epoch=8), seen(B)), POLICY).actions == (Action("grant", B, 9),)
    assert decide(record, world(seen(A, epoch=8), gone(B)), POLICY).actions == (Action("grant", A, 9),)


def test_late_results_of_earlier_terms_change_nothing() -> None:
    assert on_revoked(Record(8, B), A, 7) == Record(8, B)
    assert on_grant_failed(Record(9, A), A, 8, world(seen(A), seen(B)), POLICY) == Record(9, A)
    assert on_synced(Record(8, A), A, False, POLICY) == Record(8, A)


def test_asking_for_what_is_changes_only_the_hold() -> None:
    both = world(seen(A, "active"), seen(B))
    assert request_move(HOME, A, "operator", "", both, POLICY) == (HOME, "")
    assert request_move(AWAY, B, "operator", "", both, POLICY) == (replace(AWAY, home_hold=True), "")


def test_a_move_asked_for_again_does_not_begin_anew() -> None:
    vacant = Record(7, None, vacant=True, target=B, synced=True, move_by="ada", move_reason="asked for")
    both = world(seen(A), seen(B, term=3))
    assert request_move(vacant, B, "bob", "asked for too", both, POLICY) == (replace(vacant, home_hold=True), "")


def test_a_move_to_a_node_that_cannot_serve_is_refused_with_the_reason() -> None:
    for b, why in ((gone(B), "does not answer"), (seen(B, fit=False), "disk is full")):
        record, refused = request_move(HOME, B, "operator", "", world(seen(A, "active"), b), POLICY)
        assert record == HOME
        assert why in refused


def test_a_node_that_knows_a_higher_epoch_is_believed() -> None:
    decision = decide(Record(3, A), world(seen(A), seen(B, "active", epoch=9)), POLICY)
    assert decision.record == Record(9, B)
    assert decision.actions == (Action("renew", B, 9),)


# The wall clock of these tests; a pause of an hour.
WALL = 1_000_000.0
PAUSED = replace(HOME, pause=Pause(WALL + 3600, "ada", "new switch"))
HOUR_LEFT: dict[str, Any] = {"paused_left": 3600}


def test_a_pause_needs_both_nodes() -> None:
    whole = world(seen(A, "active"), seen(B), wall=WALL)
    assert request_pause(HOME, 3600, "ada", "new switch", whole, POLICY) == (PAUSED, "")
    for bad in (
        world(gone(A), seen(B)),
        world(seen(A), seen(B)),
        world(seen(A, "active"), gone(B)),
        world(seen(A, "active"), seen(B), busy={B: "sync"}),
    ):
        record, problem = request_pause(HOME, 3600, "ada", "", bad, POLICY)
        assert (record, bool(problem)) == (HOME, True)


def test_the_passive_node_is_bound_before_the_holder_runs_on_its_own() -> None:
    steps = [
        (seen(A, "active"), seen(B), "pausing", [Action("pause", B, 7, 3600), Action("renew", A, 7)]),
        (seen(A, "active"), seen(B, **HOUR_LEFT), "pausing", [Action("pause", A, 7, 3600), Action("renew", A, 7)]),
        (seen(A, "active", **HOUR_LEFT), seen(B, **HOUR_LEFT), "home", [Action("renew", A, 7)]),
        # it was made longer since
        (
            seen(A, "active", paused_left=600),
            seen(B, **HOUR_LEFT),
            "pausing",
            [Action("pause", A, 7, 3600), Action("renew", A, 7)],
        ),
    ]
    for a, b, situation, actions in steps:
        decision = decide(PAUSED, world(a, b, wall=WALL), POLICY)
        assert (decision.situation, list(decision.actions)) == (situation, actions)


def test_after_a_pause_the_holder_is_told_before_the_passive_node() -> None:
    both = world(seen(A, "active", **HOUR_LEFT), seen(B, **HOUR_LEFT), wall=WALL)
    assert decide(request_resume(PAUSED), both, POLICY).actions == (Action("resume", A, 7),)
    over = replace(both, wall=WALL + 3601)
    assert decide(PAUSED, over, POLICY).actions == (Action("resume", A, 7),)
    assert decide(PAUSED, over, POLICY).record.pause is None
    told = world(seen(A, "active"), seen(B, **HOUR_LEFT), wall=WALL)
    assert decide(HOME, told, POLICY).actions == (Action("resume", B, 7), Action("renew", A, 7))
    # A pause that is still under way to the holder may take effect yet.
    late = replace(told, last_pause_sent_at=NOW - QUIET + 1)
    assert decide(HOME, late, POLICY).actions == (Action("renew", A, 7),)
    # The holder cannot be told: nobody is freed on a guess.
    assert decide(HOME, world(gone(A), seen(B, promise_left=3600, **HOUR_LEFT)), POLICY).actions == ()
    stopped = replace(HOME, holder=None, vacant=True)
    assert decide(stopped, world(gone(A), seen(B, **HOUR_LEFT)), POLICY).actions == (Action("resume", B, 7),)


@pytest.mark.parametrize("still", [(PAUSED, POLICY, "paused"), (HOME, replace(POLICY, observe=True), "observing")])
def test_a_move_that_nobody_asked_for_is_only_told_of(still: tuple[Record, Policy, str]) -> None:
    record, policy, situation = still
    known: dict[str, Any] = HOUR_LEFT if record.pause else {}
    silent = decide(record, world(gone(A), seen(B, **known), last_lease_sent_at=NOW - 99, wall=WALL), policy)
    assert (silent.situation, silent.actions, silent.record) == (situation, (), record)
    assert "silent" in silent.reason
    sick = decide(record, world(seen(A, "active", gateway="failed", **known), seen(B, **known), wall=WALL), policy)
    assert (sick.situation, sick.actions, sick.record) == (situation, (Action("renew", A, 7),), record)
    well = replace(seen(A, **known), fit_since=NOW - 999)
    away = replace(record, holder=B)
    home = decide(away, world(well, seen(B, "active", **known), wall=WALL), policy)
    assert (home.situation, home.actions, home.record) == (situation, (Action("renew", B, 7),), away)
    # What serves goes on serving: the same node gets its lease back.
    again = decide(record, world(seen(A), seen(B, **known), wall=WALL), policy)
    assert again.actions == (Action("grant", A, 8),)
    failed = on_grant_failed(again.record, A, 8, world(seen(A), seen(B)), policy)
    assert decide(failed, world(seen(A, epoch=8), seen(B), wall=WALL), policy).actions[-1] == Action("grant", A, 9)


def test_a_pause_outlives_the_watchdog_s_record() -> None:
    both = world(seen(A, "active", **HOUR_LEFT), seen(B, **HOUR_LEFT), wall=WALL)
    decision = decide(EMPTY, both, POLICY)
    assert decision.record.holder == A
    assert decision.record.pause is not None
    assert decision.record.pause.until == WALL + 3600


def test_by_hand_joe_is_moved_when_only_observing_and_not_when_paused() -> None:
    both = world(seen(A, "active"), seen(B), wall=WALL)
    record, problem = request_move(HOME, B, "ada", "asked for", both, POLICY)
    assert problem == ""
    assert Action("sync", B) in decide(record, both, replace(POLICY, observe=True)).actions
    assert "resume" in request_move(PAUSED, B, "ada", "asked for", both, POLICY)[1]


@pytest.mark.parametrize(
    ("ago", "seconds"),
    [
        ((), 300),
        ((5,), 300),
        ((5, 900), 600),
        ((1, 2, 3), 1200),
        ((1,) * 9, 3600),
        ((5, 3700), 300),
        ((-86400, 5), 300),
    ],
)
def test_each_further_failover_of_the_last_hour_doubles_the_hold_down(ago: tuple[float, ...], seconds: float) -> None:
    record = replace(AWAY, failovers=tuple(WALL - a for a in ago))
    both = world(replace(seen(A), fit_since=NOW - seconds + 1), seen(B, "active"), wall=WALL)
    assert holddown(record, both, POLICY) == seconds
    assert decide(record, both, POLICY).situation == "away"
    well = replace(both, sightings={**both.sightings, A: replace(seen(A), fit_since=NOW - seconds)})
    assert decide(record, well, POLICY).situation == "failing_back"


def test_damping_never_delays_a_rescue() -> None:
    record = replace(HOME, failovers=(WALL,) * 50)
    rescued = decide(record, world(gone(A), seen(B), last_lease_sent_at=NOW - 99, wall=WALL), POLICY)
    assert rescued.actions == (Action("grant", B, 8),)


def test_only_what_its_peer_misses_too_is_fenced() -> None:
    policy = replace(POLICY, fence=True)
    missed = seen(B, peer_reachable=False)
    decision = decide(HOME, world(gone(A), missed), policy)
    assert (decision.situation, decision.actions) == ("fencing", (Action("fence", A, 7),))
    assert decide(HOME, world(gone(A), missed, busy={A: "fence"}), policy).actions == ()
    assert decide(HOME, world(gone(A), seen(B)), policy).actions == ()
    assert decide(HOME, world(gone(A), missed), replace(policy, observe=True)).actions == ()
    assert decide(HOME, world(gone(A), missed), POLICY).actions == ()
    off = on_revoked(HOME, A, 7)
    assert decide(off, world(gone(A), missed), policy).actions == (Action("grant", B, 8),)


WELL = replace(seen(A), fit_since=NOW - 999)


@pytest.mark.parametrize(
    ("record", "the_world", "renewed"),
    [
        (AWAY, world(WELL, seen(B, "active")), [B]),
        (HOME, world(seen(A, "active", gateway="failed"), seen(B)), [A]),
        (PAUSED, world(seen(A, "active"), seen(B), wall=WALL + 3601), [A]),
        (HOME, world(gone(A), seen(B), last_lease_sent_at=NOW - 99), []),
        (HOME, world(seen(A), seen(B)), []),
        (EMPTY, world(seen(A, "active"), seen(B)), []),
        # somebody serves in a later term, or the holder is told to stop
        (HOME, world(seen(A, "active"), seen(B, "active", epoch=8)), []),
        (PAUSED, world(seen(A, "active"), seen(B), wall=WALL + 3601, busy={A: "revoke"}), []),
    ],
)
def test_what_cannot_be_written_down_is_not_done_and_who_serves_goes_on(
    record: Record, the_world: World, renewed: list[str]
) -> None:
    wanted = decide(record, the_world, POLICY)
    assert wanted.record != record
    done = unwritten(wanted, record, the_world)
    assert (done.situation, done.record) == ("unwritten", record)
    assert list(done.actions) == [Action("renew", node, 7) for node in renewed]
    assert wanted.reason in done.reason


def test_an_operator_s_word_that_a_node_is_off_ends_the_wait() -> None:
    silent = world(gone(A), seen(B))
    record, problem = declare_off(HOME, A, silent)
    assert (decide(record, silent, POLICY).actions, problem) == ((Action("grant", B, 8),), "")
    assert declare_off(HOME, B, silent)[1]
    assert declare_off(HOME, A, world(seen(A), seen(B)))[1]


def test_a_lease_of_longer_timing_is_waited_for() -> None:
    """The timing was changed while a lease of the old one may run."""
    record = replace(HOME, quiet=QUIET + 60)
    assert decide(record, world(gone(A), seen(B), last_lease_sent_at=NOW - 99), POLICY).situation == "failing_over"
    assert decide(record, world(gone(A), seen(B), last_lease_sent_at=NOW - 90), POLICY).situation == "silent"


def situations() -> set[str]:
    """Every situation that the code names."""
    found: set[str] = set()
    where = {"Decision": 1, "_grant": 4, "_revoke": 2}
    for node in ast.walk(ast.parse(Path(takeover.__file__).read_text())):
        given: list[ast.expr] = []
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in where:
            given = node.args[where[node.func.id] : where[node.func.id] + 1]
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "situation":
            given = [node.value]
        constants = [c.value for expression in given for c in ast.walk(expression) if isinstance(c, ast.Constant)]
        found |= {value for value in constants if isinstance(value, str) and re.fullmatch("[a-z_]+", value)}
    return found


def test_the_documented_table_is_the_module_s_own() -> None:
    assert takeover.__doc__ is not None
    rows = [re.split(" {2,}", line) for line in takeover.__doc__.splitlines()]
    table = [row for row in rows if len(row) == 3 and not row[0].startswith(("=", "situation"))]
    page = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text()
    for words, when, action in table:
        assert f"| `{'`, `'.join(words.split(', '))}` | {when} | {action} |" in page
    assert {word for row in table for word in row[0].split(", ")} == situations()


# Terms that the witness cannot know of


def just_booted(node: str, seconds: float = 5) -> Sighting:
    return replace(seen(node), heard_since=NOW - 900, fit_since=NOW - seconds)


@pytest.mark.parametrize("record", [HOME, Record(7, vacant=True), Record(7, vacant=True, target=A), EMPTY])
def test_a_node_that_has_just_booted_may_not_know_yet_that_its_peer_runs_on_an_operator_s_word(record: Record) -> None:
    long_gone = replace(gone(B), heard_at=NOW - 600)
    for other in (long_gone, Sighting(B, failures=9), replace(seen(B), heard_at=NOW - 16)):
        waiting = decide(record, world(just_booted(A), other, last_lease_sent_at=NOW - 900), POLICY)
        assert (waiting.situation, waiting.actions, waiting.record.holder) == ("settling", (), record.holder)
        later = decide(record, world(just_booted(A, QUIET), other, last_lease_sent_at=NOW - 900), POLICY)
        assert [action.verb for action in later.actions] == ["grant"]


def test_whom_the_witness_has_just_heard_nobody_has_forced() -> None:
    assert decide(HOME, world(just_booted(A), seen(B)), POLICY).situation == "regranting"


def grants(record: Record, the_world: World) -> int:
    (action,) = decide(record, the_world, POLICY).actions
    assert action.verb == "grant"
    return action.epoch


def test_a_witness_without_a_record_that_hears_one_node_leaps() -> None:
    alone = world(seen(A), gone(B, epoch=9), last_lease_sent_at=NOW - 900)
    adopted = decide(EMPTY, world(seen(A), gone(B), started_at=NOW - 1), POLICY).record
    assert (adopted.epoch, adopted.adopted) == (7, True)
    first = decide(EMPTY, alone, POLICY)
    assert first.record.epoch == grants(adopted, alone) == leap(7, A, B, forced=False) > 7 + LEAP
    assert grants(replace(first.record, holder=None, vacant=True), alone) == first.record.epoch + 1, "once is enough"
    nothing = world(seen(A, epoch=0), Sighting(B, failures=9), last_lease_sent_at=NOW - 900)
    assert grants(EMPTY, nothing) == leap(0, A, B, forced=False)


def test_a_witness_without_a_record_that_hears_both_nodes_counts_on() -> None:
    both = world(seen(A), seen(B, epoch=6), last_lease_sent_at=NOW - 900)
    assert grants(EMPTY, both) == 8
    early = world(seen(A), replace(seen(B), heard_at=NOW - 14), started_at=NOW - 40, last_lease_sent_at=None)
    assert decide(EMPTY, early, POLICY).situation == "settling", "a late grant may have reached the peer since"
    assert grants(EMPTY, replace(early, sightings={A: seen(A), B: replace(seen(B), heard_at=NOW - 9)})) == 8


def test_nobody_is_granted_beside_a_peer_that_is_still_active() -> None:
    """On an operator's word it has no end of its own: it is revoked, and that takes a while."""
    forced = seen(B, "active", epoch=5)
    first = decide(HOME, world(seen(A), forced), POLICY)
    assert (first.situation, first.actions) == ("stray", (Action("revoke", B, 7),))
    still = decide(HOME, world(seen(A), forced, busy={B: "revoke"}), POLICY)
    assert (still.situation, still.actions) == ("stray", ())
    assert decide(HOME, world(seen(A), seen(B, epoch=5)), POLICY).situation == "regranting"
