"""Faults on the real three machines: never two gateways, and someone serves again within a stated time.

The table FAULTS says what is done, and what must be true then. Each row is done ROUNDS times (default 1), the whole
table once before anything a second time. The environment's FAULTS chooses rows: "ci" (default) is what no other
scenario does, "all" is everything, and anything else is a regular expression that a name must match.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import permutations

import pytest
from chaos import GATEWAY, GUARD, MACHINES, SSHD, STATE, WATCHDOG, A, B, Lab, Round, T, provision, timing
from pair import ROOT, UNIT, wait_until

_T = timing()
HEARTBEAT, TTL, STOP = _T["watchdog_heartbeat_seconds"], _T["watchdog_ttl_seconds"], _T["guard_stop_seconds"]
QUIET = TTL * 1.01 + _T["watchdog_margin_seconds"]
# Longest times of what the lab does, measured with room for a busy computer.
START = {"stand-in": 4.0, "real": 30.0}[(ROOT / "lab" / ".state" / "gateway").read_text(encoding="utf-8").strip()]
SESSIONS = "[s]shd: dualjoe"  # not the shell that looks for them
BOOT = 8.0  # a machine, from its power to answering T440

# Bounds: for how long nobody may be ready.
UNDISTURBED = 1.0  # not at all, as far as can be told from asking five times a second
TAKEOVER = QUIET + HEARTBEAT + START  # the active node is lost
MOVE = STOP + HEARTBEAT + START  # the active node is stopped, the other one started
REGRANT = 2 * HEARTBEAT + START  # the holder is back, and granted at once
BLIND = QUIET + _T["watchdog_absent_wait_seconds"] + START  # the active node is lost, and T440 does not know since when


# ---- what is done


def freeze(lab: Lab) -> None:
    lab.freeze(A)
    thaw_at = time.monotonic() + 60
    lab.serves(B, TAKEOVER)
    time.sleep(thaw_at - time.monotonic())
    lab.thaw(A)
    lab.silent(A, 5)


def isolate(lab: Lab) -> None:
    lab.cut_off(A)
    lab.serves(B, TAKEOVER)
    assert not lab.sampler.running(A)
    lab.reconnect()


def cut(ways: str, seconds: float, lab: Lab) -> None:
    """``ways``: "sender>receiver", more than one with spaces between."""
    for way in ways.split():
        lab.cut(*way.split(">"))
    time.sleep(seconds)


def lose_t440_then_pc_b(lab: Lab) -> None:
    lab.kill(T)
    time.sleep(QUIET)  # any lease that T440 gave is over by then
    lab.serves(A, 1)
    lab.kill(B)
    lab.silent(A, TTL + 1)
    lab.start(T, B)


def power_cut(order: tuple[str, ...], seconds_between: float, lab: Lab) -> None:
    lab.kill(*order)
    for machine in order:
        lab.start(machine)
        time.sleep(seconds_between)


def strike(machine: str, unit: str, name: str, seconds: float, lab: Lab) -> None:
    """Send a signal to a service and see what comes of it."""
    lab.signal(machine, unit, name)
    time.sleep(seconds)


def hang_watchdog(lab: Lab) -> None:
    before = lab.main_process(T, WATCHDOG)
    lab.signal(T, WATCHDOG, "STOP")
    wait_until(lambda: lab.main_process(T, WATCHDOG) not in {before, "0"}, "systemd has started another watchdog", 40)


def hang_sshd(lab: Lab) -> None:
    """Nobody comes in any more: connections are taken by the kernel, and nothing answers."""
    lab.signal(A, SSHD, "STOP")
    lab.sh(A, f"pkill -KILL -f '{SESSIONS}'")
    time.sleep(QUIET + TTL)


def hang_sshd_session(lab: Lab) -> None:
    lab.sh(A, f"pkill -STOP -f '{SESSIONS}'")
    time.sleep(TTL)


def stall_ssh(lab: Lab) -> None:
    lab.stall(T, A)
    time.sleep(QUIET + TTL)


def fail_over_without(event: str, lab: Lab) -> None:
    """PC-A dies, and the watchdog is killed as it tells of ``event``."""
    with lab.moment(event, kill=WATCHDOG):
        lab.kill(A)


def go_home_without(events: str, lab: Lab) -> None:
    """Joe goes home, and the watchdog is killed as it tells of the last of ``events``."""
    with lab.moment(events, kill=WATCHDOG):
        lab.sh(T, "dualjoe failback >/dev/null 2>&1 &")


def fail_again_and_again(lab: Lab) -> None:
    while not lab.service.serves(B):
        if lab.sampler.running(A):
            lab.pair.on(A, "systemctl", "kill", "--signal=KILL", GATEWAY, check=False)
        time.sleep(0.5)


def fail_over_twice(lab: Lab) -> None:
    with lab.moment("grant"):
        lab.kill(A)
    lab.kill(B)
    lab.start(A)


def fill_disk(machine: str, lab: Lab) -> None:
    lab.fill_disk(machine)
    time.sleep(QUIET)


def lose_epoch(how: str, lab: Lab) -> None:
    lab.sh(B, f"cd {STATE} && cp -p epoch.json epoch.json.kept && {how} && systemctl restart {GUARD}")
    wait_until(lambda: lab.pair.status(B)["fit"] is False, "PC-B says that it is unfit", 10)
    asked = lab.pair.on(T, "dualjoe", "switchover", "--to", B, check=False)
    assert asked.returncode != 0
    time.sleep(TTL)


def jump_in_time(machine: str, offset: str, lab: Lab) -> None:
    """The clock is set; nothing comes of it, and a move goes on as ever."""
    jumped = time.monotonic()
    lab.lie_about_time(machine, offset)
    time.sleep(QUIET)
    assert lab.service.seconds_without(jumped, time.monotonic()) < UNDISTURBED
    lab.serves(A, 1)
    lab.move("switchover --to standby")


def forget(lab: Lab) -> None:
    """T440's disk is replaced by an empty one."""
    lab.sh(T, f"systemctl stop {WATCHDOG} && rm {STATE}/witness.sqlite && systemctl start {WATCHDOG}")
    time.sleep(QUIET + TTL)


def keep_process(work: Callable[[Lab], None], lab: Lab) -> None:
    """What is done must leave the gateway's own process alone."""
    before = lab.main_process(A, GATEWAY)
    work(lab)
    assert lab.main_process(A, GATEWAY) == before


def upgrade(lab: Lab) -> None:
    """The machines have another version of the library until site.yml runs."""
    for machine in MACHINES:
        lab.sh(machine, "echo '# another version' >>/usr/local/lib/dualjoe/dualjoe/wire.py")
    provision(lab)
    time.sleep(TTL)
    assert not lab.sh(A, "grep 'another version' /usr/local/lib/dualjoe/dualjoe/wire.py", check=False)


def restart_watchdog(lab: Lab) -> None:
    lab.pair.on(T, "systemctl", "restart", WATCHDOG)
    time.sleep(TTL)


def reload_guards(lab: Lab) -> None:
    for node in (A, B):
        lab.pair.on(node, "systemctl", "reload", GUARD)
    time.sleep(TTL)


# ---- how it begins, where that is not Joe at home


def away(lab: Lab) -> None:
    lab.move("switchover --to standby")


def lied_to(machine: str, lab: Lab) -> None:
    lab.lie_about_time(machine, "+0")


# ---- the table


@dataclass(frozen=True)
class Fault:
    """A fault, and what must be true of it; the two-gateways rule is for all.

    ``bound``: nobody is ready for at most so many seconds; ``serves``: who must serve then, None for anyone; ``alert``:
    people are told in these words.
    """

    name: str
    do: Callable[[Lab], None]
    bound: float
    serves: str | None = A
    alert: str = ""
    begin: Callable[[Lab], None] | None = None
    ci: bool = False


def _both_ways(a: str, b: str) -> str:
    return f"{a}>{b} {b}>{a}"


TO_A, TO_B = "No failover, although T440 would want one", "pc-b does not answer T440"
UNFIT_A, UNFIT_B = "pc-a could not run the gateway now", "pc-b could not run the gateway now"
MOVED = "Failover: Joe runs on pc-b"
LONG, SHORT = QUIET + TTL, TTL + HEARTBEAT

FAULTS = (
    # machines
    Fault("PC-A freezes for 60 s", freeze, TAKEOVER, B, MOVED),
    Fault("PC-A is cut off", isolate, TAKEOVER, B, MOVED, ci=True),
    Fault("T440 dies, then PC-B; both return", lose_t440_then_pc_b, TTL + BOOT + REGRANT),
    Fault("power cut", partial(power_cut, (T, A, B), 0), BOOT + REGRANT, ci=True),
    *(
        Fault(f"power cut; {', '.join(order)} return", partial(power_cut, order, 4), 12 + BOOT + REGRANT)
        for order in permutations((T, A, B))
    ),
    Fault("PC-B dies as it takes over", fail_over_twice, TAKEOVER + BOOT + BLIND, ci=True),
    # links
    Fault("link T440>PC-A is cut", partial(cut, f"{T}>{A}", LONG), UNDISTURBED, A, TO_A),
    Fault("link PC-A>T440 is cut", partial(cut, f"{A}>{T}", LONG), UNDISTURBED, A, TO_A),
    Fault("link T440-PC-A is cut", partial(cut, _both_ways(T, A), LONG), UNDISTURBED, A, TO_A),
    Fault("link PC-A>PC-B is cut", partial(cut, f"{A}>{B}", SHORT), UNDISTURBED),
    Fault("link PC-B>PC-A is cut", partial(cut, f"{B}>{A}", SHORT), UNDISTURBED),
    Fault("link PC-A-PC-B is cut", partial(cut, _both_ways(A, B), SHORT), UNDISTURBED),
    Fault("link T440>PC-B is cut", partial(cut, f"{T}>{B}", SHORT), UNDISTURBED, A, TO_B),
    Fault("link PC-B>T440 is cut", partial(cut, f"{B}>{T}", SHORT), UNDISTURBED, A, TO_B),
    Fault("link T440-PC-B is cut", partial(cut, _both_ways(T, B), SHORT), UNDISTURBED, A, TO_B),
    Fault("SSH to PC-A stalls", stall_ssh, UNDISTURBED, A, TO_A, ci=True),
    Fault("SSH session on PC-A hangs", hang_sshd_session, UNDISTURBED),
    # services
    Fault("gateway is killed", partial(strike, A, GATEWAY, "KILL", 3), REGRANT),
    Fault("gateway hangs", partial(strike, A, GATEWAY, "STOP", 3), 9 + STOP + START),
    Fault("gateway fails again and again", fail_again_and_again, 3 * (1 + START) + MOVE, B, MOVED, ci=True),
    Fault("guard is killed", partial(strike, A, GUARD, "KILL", 3), 2 + REGRANT),
    Fault("guard hangs", partial(strike, A, GUARD, "STOP", 5), 4 + REGRANT, ci=True),
    Fault("watchdog is killed", partial(strike, T, WATCHDOG, "KILL", TTL), UNDISTURBED),
    Fault("watchdog hangs", hang_watchdog, UNDISTURBED),
    Fault("sshd on PC-A is killed", partial(strike, A, SSHD, "KILL", TTL), UNDISTURBED),
    Fault("sshd on PC-A hangs", hang_sshd, UNDISTURBED, A, TO_A),
    # the watchdog dies at a step
    Fault("failover; watchdog dies at silent", partial(fail_over_without, "silent"), BLIND, B, MOVED),
    Fault("failover; watchdog dies at grant", partial(fail_over_without, "grant"), TAKEOVER + REGRANT, B, ci=True),
    Fault("failover; watchdog dies at its end", partial(fail_over_without, "failover"), TAKEOVER, B),
    *(
        Fault(f"failback; watchdog dies at {step}", partial(go_home_without, events), bound, None, begin=away)
        for step, events, bound in (
            ("first sync", "sync", UNDISTURBED),
            ("revoke", "revoke", MOVE + REGRANT),
            ("second sync", "revoke sync", MOVE + REGRANT),
            ("grant", "revoke grant", MOVE + REGRANT),
            ("its end", "switchover", MOVE),
        )
    ),
    # state, disks, clocks
    Fault("disk of PC-A is full", partial(fill_disk, A), UNDISTURBED, A, UNFIT_A),
    Fault("disk of PC-B is full", partial(fill_disk, B), UNDISTURBED, A, UNFIT_B, ci=True),
    Fault("disk of T440 is full", partial(fill_disk, T), UNDISTURBED, A, "full"),
    Fault("epoch of PC-B is broken", partial(lose_epoch, "echo x >epoch.json"), UNDISTURBED, A, UNFIT_B),
    Fault("epoch of PC-B is missing", partial(lose_epoch, "rm epoch.json"), UNDISTURBED, A, UNFIT_B),
    Fault("T440 is replaced, PC-A serves", forget, UNDISTURBED, ci=True),
    Fault("T440 is replaced, PC-B serves", forget, UNDISTURBED, B, begin=away),
    *(
        Fault(
            f"clock of {machine} jumps {offset}",
            partial(jump_in_time, machine, offset),
            MOVE,
            B,
            begin=partial(lied_to, machine),
            ci=(machine, offset) == (A, "+1d"),
        )
        for machine in (T, A, B)
        for offset in ("+1d", "-1d")
    ),
    # operators
    Fault("watchdog is restarted", partial(keep_process, restart_watchdog), UNDISTURBED),
    Fault("guards are reloaded", partial(keep_process, reload_guards), UNDISTURBED),
    Fault("site.yml upgrades", partial(keep_process, upgrade), UNDISTURBED),
)


def _chosen(wanted: str) -> list[Fault]:
    if wanted == "ci":
        return [fault for fault in FAULTS if fault.ci]
    return [fault for fault in FAULTS if wanted == "all" or re.search(wanted, fault.name)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "fault" not in metafunc.fixturenames:
        return
    chosen = _chosen(os.environ.get("FAULTS") or "ci")
    cases = [(fault, number) for number in range(1, int(os.environ.get("ROUNDS") or 1) + 1) for fault in chosen]
    metafunc.parametrize(("fault", "number"), cases, ids=[f"{fault.name}, {number}" for fault, number in cases])


def test_the_instruments_see_two_gateways(lab: Lab) -> None:
    """A gateway that an operator starts on PC-B is stopped by the guard there. Until then there are two: what counts
    them below must see it, during and afterwards."""
    lab.whole()
    began, before = time.monotonic(), len(lab.sampler.overlaps)
    lab.pair.on(B, "systemctl", "start", UNIT)
    lab.silent(B, 5)
    overlaps = lab.sampler.overlaps[before:]
    assert overlaps
    seen = sum(until - since for since, until in lab.both_ran(began)[0])
    assert seen == pytest.approx(len(overlaps) / 20, abs=0.3)
    lab.alerted("was started without a lease", 10)


def test_fault(lab: Lab, fault: Fault, number: int, rounds: list[Round]) -> None:
    lab.whole()
    if fault.begin is not None:
        fault.begin(lab)
        lab.well(30, at_home=False)
    two_before, told_before = len(lab.sampler.overlaps), len(lab.pair.alerts())
    wall, began = time.time(), time.monotonic()

    mistakes = _mistakes_of(lambda: fault.do(lab))
    mistakes += _mistakes_of(lambda: lab.serves(fault.serves, fault.bound))
    without = lab.service.seconds_without(began, time.monotonic())
    if without > fault.bound:
        mistakes.append(f"nobody was ready for {without:.1f} s, allowed are {fault.bound:.1f} s")
    if fault.alert:
        mistakes += _mistakes_of(lambda: lab.alerted(fault.alert, 10, told_before))

    mistakes += _mistakes_of(lab.whole)
    both = len(lab.sampler.overlaps) - two_before
    if both:
        mistakes.append(f"two gateways in {both} samples")
    resumed = 0.0

    def ask_the_journals() -> None:
        nonlocal resumed
        two, resumed = lab.both_ran(began)
        spans = ", ".join(f"{until - since:.3f} s at {since:.3f}" for since, until in two)
        assert not two, f"by the journals two gateways ran: {spans}"

    mistakes += _mistakes_of(ask_the_journals)
    rounds.append(Round(fault.name, fault.bound, without, both, resumed, tuple(mistakes)))
    if mistakes:
        name = re.sub("[^a-z0-9]+", "-", f"{fault.name} {number}".lower())
        mistakes.append(f"see {lab.evidence(name, wall, mistakes)}")
    assert not mistakes, "\n".join(mistakes)


def _mistakes_of(step: Callable[[], None]) -> list[str]:
    """What went wrong in a step; the others are still looked at."""
    try:
        step()
    except (AssertionError, RuntimeError, TimeoutError) as error:
        return [f"{type(error).__name__}: {error}"]
    return []
