#!/usr/bin/env python3
"""How long nobody serves: Dual-Joe beside keepalived and Pacemaker, and a planned move beside a plain restart.

The contenders take turns in one run, on this computer, with the same gateway. Nothing is asserted: the result is a
table, printed, and written as JSON and Markdown after each measurement. A round that fails is noted, and the run goes
on. What the run makes, it removes, also when it is interrupted.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "lab"))

import bootstrap  # noqa: E402 - after the path
import machines  # noqa: E402
from contenders import (  # noqa: E402
    Contender,
    DualJoe,
    Keepalived,
    Pacemaker,
    Roles,
    make_lab,
    provision_nodes,
    remove_lab,
)
from pair import UNIT, run, wait_until  # noqa: E402
from results import Move, Results, Takeover  # noqa: E402

HERE = ROOT / "bench"
FAST = ROOT / "inventory" / "profiles" / "fast.yml"
ALONE = "dualjoe-bench-alone"
# From the death of the active to the start command on the other, in the worst phase: what is asked for, in seconds.
DEFAULT_LIMIT, FAST_LIMIT = 45.0, 4.0
SYNC, PUBLISH = "dualjoe-memory-sync.service", "dualjoe-memory-publish.service"
IMAGES = {"stand-in": "standin", "real": "gateway"}
FAILURES = (RuntimeError, OSError, subprocess.SubprocessError, LookupError, TypeError, ValueError)  # of one round
PATIENCE = 2  # a contender that fails so often in a row takes no further part


def say(text: str) -> None:
    print(text, flush=True)


def phases(rounds: int, dice: random.Random) -> list[float]:
    """One moment in each of so many equal parts of a heartbeat, in random order; the first part's is near its begin,
    the worst moment to die."""
    found = [(part + dice.random() * (part > 0)) / rounds for part in range(rounds)]
    dice.shuffle(found)
    return found


def calm_and_settled(contender: Contender) -> tuple[Roles, float]:
    """Who serves, who would take over, and how busy this computer is, when all that went before is over."""
    contender.settled()
    busy = machines.calm_down()
    return contender.settled(), busy


def die(contender: Contender, number: int, phase: float) -> Takeover:
    """Kill the machine that serves, see the other take over, and switch the dead one on again."""
    roles, busy = calm_and_settled(contender)
    with machines.watching(roles.passive) as (watch,):
        contender.wait_for_phase(roles, phase)
        died = machines.kill(roles.active)
        ready = watch.since(died, ready=True)
    started = machines.unit_times(roles.passive, UNIT, died)["starting"]
    heard = contender.last_heard(died)
    contender.switch_on(roles.active)
    return Takeover(
        contender=contender.name,
        round=number,
        active=roles.active,
        busy=busy,
        phase=None if heard is None else (died - heard) / contender.beat,
        start_command=started - died,
        since_heard=None if heard is None else started - heard,
        ready=ready - died,
    )


def switch_over(contender: DualJoe, number: int) -> Move:
    """`dualjoe switchover` to the other node."""
    roles, busy = calm_and_settled(contender)
    with machines.watching(roles.active, roles.passive) as (old, new):
        asked = time.time()
        machines.inside("t440", "dualjoe", "switchover")
        answered = time.time()
        ready = new.since(asked, ready=True)
        lost = old.since(asked, ready=False)
    source = machines.unit_times(roles.active, UNIT, asked)
    sync, publish, target = (machines.unit_times(roles.passive, unit, asked) for unit in (SYNC, PUBLISH, UNIT))
    moments = {  # a step that this move could do without is missing
        "stop begins": source.get("stopping"),
        "stopped": source.get("stopped"),
        "sync begins": sync.get("starting"),
        "sync ends": sync.get("started"),
        "publish begins": publish.get("starting"),
        "publish ends": publish.get("started"),
        "start begins": target.get("starting"),
        "ready": ready,
        "command answers": answered,
    }
    steps = {step: moment - asked for step, moment in moments.items() if moment is not None}
    return Move(contender.name, number, roles.active, busy, ready - asked, ready - lost, steps)


def restart(number: int) -> Move:
    """The gateway's own stop and start, on a machine where nobody else has a say."""
    wait_until(lambda: machines.ready(ALONE), "the gateway alone is ready", 120)
    busy = machines.calm_down()
    with machines.watching(ALONE) as (watch,):
        asked = time.time()
        machines.inside(ALONE, "sh", "-c", f"systemctl stop {UNIT} && systemctl start {UNIT}")
        lost = watch.since(asked, ready=False)
        ready = watch.since(lost, ready=True)
    moments = machines.unit_times(ALONE, UNIT, asked)
    named = {"stop begins": "stopping", "stopped": "stopped", "start begins": "starting"}
    steps = {step: moments[word] - asked for step, word in named.items()} | {"ready": ready - asked}
    return Move("stop + start", number, ALONE, busy, ready - asked, ready - lost, steps)


class Bench:
    """One run: what it measured so far is always on disk."""

    def __init__(self, results: Results, output: Path) -> None:
        self.results, self.output = results, output

    def tried(self, what: str, work: Callable[[], None]) -> bool:
        """Whether a piece of the work succeeded. What it says when it does not is a result as well."""
        try:
            work()
        except FAILURES as error:
            self.results.failures.append(f"{what}: {str(error).strip() or type(error).__name__}")
            say(f"  {self.results.failures[-1]}")
            return False
        finally:
            self.results.write(self.output)
        return True

    def set_up(self, contenders: Sequence[Contender]) -> list[Contender]:
        """Those that can take part."""
        found = []
        for contender in contenders:
            say(f"Setting up {contender.name} ...")
            if self.tried(f"setting up {contender.name}", contender.up):
                found.append(contender)
                self.results.settings[contender.name] = contender.setting
                if contender.limit is not None:
                    self.results.limits[contender.name] = contender.limit
        return found

    def take_turns(self, contenders: Sequence[Contender], rounds: int, dice: random.Random) -> None:
        """Every contender dies once in each round."""
        plans = {contender.name: phases(rounds, dice) for contender in contenders}
        failed = dict.fromkeys(plans, 0)  # in a row
        for number in range(1, rounds + 1):
            for contender in contenders:
                if failed[contender.name] == PATIENCE:
                    continue
                phase = plans[contender.name][number - 1]
                if self.tried(f"{number}. {contender.name}", partial(self._death, contender, number, phase)):
                    failed[contender.name] = 0
                else:
                    failed[contender.name] += 1
                    self.tried(f"{contender.name}, machines on again", contender.mend)

    def _death(self, contender: Contender, number: int, phase: float) -> None:
        seen = die(contender, number, phase)
        self.results.takeovers.append(seen)
        told = f"start command {seen.start_command:.2f} s  ready {seen.ready:.2f} s"
        if seen.phase is not None:
            told += f"  phase {seen.phase:.2f}  since last heard {seen.since_heard:.2f} s"
        say(f"  {number}. {contender.name:<18} {told}  (computer {seen.busy:.0%} busy before)")

    def move_in_turns(self, contender: DualJoe, rounds: int) -> None:
        """A stop and start, and a switchover, in each round."""
        turns: tuple[Callable[[int], Move], ...] = (restart, partial(switch_over, contender))
        for number in range(1, rounds + 1):
            for turn in turns:
                self.tried(f"{number}. planned move or restart", partial(self._move, turn, number))

    def _move(self, turn: Callable[[int], Move], number: int) -> None:
        seen = turn(number)
        self.results.moves.append(seen)
        told = f"ready {seen.ready:.2f} s  nobody served {seen.unserved:.2f} s"
        say(f"  {number}. {seen.contender:<18} {told}  (computer {seen.busy:.0%} busy before)")


@contextmanager
def clean() -> Iterator[None]:
    """Begin without machines of an earlier run, and leave none, whatever happens."""

    def stop(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    machines.remove_all()
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        say("Removing the machines ...")
        # In a session of its own: a second Ctrl-C goes to all of the terminal's programs, and would end this half done.
        subprocess.run([sys.executable, *sys.argv, "--remove"], start_new_session=True, check=True)


def remove(options: argparse.Namespace) -> None:
    """What `clean` leaves behind: nothing."""
    machines.remove_all()
    if uses_lab(options):
        remove_lab()


def pair_image(gateway: str) -> str:
    """The image of the benchmark's own machines: a node of the lab, with the other contenders' packages."""
    base = bootstrap.image_id(bootstrap.image(IMAGES[gateway]))
    if base is None:
        raise RuntimeError("images of the lab are missing; run 'make images'")
    return bootstrap.build(f"bench-{gateway}", bootstrap.read(HERE / "image"), BASE=base)


def measure(options: argparse.Namespace, bench: Bench) -> None:
    """Make the machines and take every measurement that is asked for."""
    dice = random.Random(options.seed)
    image = pair_image(options.gateway)
    machines.make_network()
    machines.make("dualjoe-bench-telegram", bootstrap.image("telegram"), machines.TELEGRAM, machine=False)
    if options.moves:
        say("Setting up a gateway of its own ...")
        machines.make(ALONE, image, 31)
        provision_nodes(ALONE, gateway=options.gateway)
        machines.inside(ALONE, "systemctl", "start", UNIT)
    if uses_lab(options):
        say("Setting up the lab ...")
        make_lab(options.gateway)
    if options.rounds:
        limit = FAST_LIMIT if options.profile.resolve() == FAST else None
        known: dict[str, Contender] = {
            "keepalived": Keepalived(image, options.gateway),
            "pacemaker": Pacemaker(image, options.gateway),
            "dual-joe": DualJoe(options.profile, limit),
        }
        able = bench.set_up([known[name] for name in options.contenders])
        say("Death of the active, in turns:")
        bench.take_turns(able, options.rounds, dice)
    if options.default_rounds or options.moves:
        usual = DualJoe(None, DEFAULT_LIMIT if options.default_rounds else None)
        if not bench.set_up([usual]):
            return
        if options.default_rounds:
            say("Death of the active:")
            bench.take_turns([usual], options.default_rounds, dice)
        if options.moves:
            say("A planned move, and the gateway's own stop and start, in turns:")
            bench.move_in_turns(usual, options.moves)


def uses_lab(options: argparse.Namespace) -> bool:
    return bool(options.moves or options.default_rounds or (options.rounds and "dual-joe" in options.contenders))


def main() -> int:
    """Exit code 0 when all was measured, 1 when a part failed; what was measured is printed and written anyway."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = ("keepalived", "pacemaker", "dual-joe")
    parser.add_argument("--contenders", nargs="+", choices=names, default=names, help="who takes part")
    parser.add_argument("--profile", type=Path, default=FAST, help="Dual-Joe's variables (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="deaths of each (default: %(default)s)")
    parser.add_argument("--default-rounds", type=int, default=3, help="deaths at Dual-Joe's defaults (%(default)s)")
    parser.add_argument("--moves", type=int, default=6, help="planned moves (default: %(default)s)")
    parser.add_argument("--gateway", choices=sorted(IMAGES), default="stand-in", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of the phases (default: random)")
    parser.add_argument("--output", type=Path, default=ROOT / ".cache" / "bench", help="folder for the results")
    parser.add_argument("--remove", action="store_true", help="only remove the machines that such a run would make")
    options = parser.parse_args()
    if options.remove:
        remove(options)
        return 0
    results = Results(
        seed=options.seed,
        gateway=options.gateway,
        made_at=datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z"),
        commit=run("git", "-C", str(ROOT), "describe", "--always", "--dirty").stdout.strip(),
        host=f"{os.cpu_count()} cores, Linux {platform.release()}",
    )
    say(f"seed {options.seed}")
    try:
        with clean():
            measure(options, Bench(results, options.output))
    finally:
        written = results.write(options.output)
        say(f"\n{results.markdown()}\nwritten to {written}")
    return 1 if results.failures else 0


if __name__ == "__main__":
    sys.exit(main())
