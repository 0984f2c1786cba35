#!/usr/bin/env python3
"""How long nobody serves: Dual-Joe beside keepalived and Pacemaker, and a planned move beside a plain restart.

The contenders take turns in one run, on this computer, with the same gateway. Nothing is asserted: the result is a
table, printed and written as JSON and Markdown. What the run makes, it removes, also when it is interrupted.
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
    make_lab,
    provision_nodes,
    remove_lab,
)
from pair import UNIT, run, wait_until  # noqa: E402
from results import Move, Results, Takeover  # noqa: E402

HERE = ROOT / "bench"
FAST = ROOT / "inventory" / "profiles" / "fast.yml"
ALONE = "dualjoe-bench-alone"
SYNC, PUBLISH = "dualjoe-memory-sync.service", "dualjoe-memory-publish.service"
IMAGES = {"stand-in": "standin", "real": "gateway"}


def say(text: str) -> None:
    print(text, flush=True)


def phases(rounds: int, dice: random.Random) -> list[float]:
    """One moment in each of so many equal parts of a heartbeat, in random order; the first part's is near its begin,
    the worst moment to die."""
    found = [(part + dice.random() * (part > 0)) / rounds for part in range(rounds)]
    dice.shuffle(found)
    return found


def die(contender: Contender, number: int, phase: float) -> Takeover:
    """Kill the machine that serves, see the other take over, and switch the dead one on again."""
    roles = contender.settled()
    busy = machines.calm_down()
    with machines.watching(roles.passive) as (watch,):
        contender.wait_for_phase(roles, phase)
        died = machines.kill(roles.active)
        ready = watch.since(died, ready=True)
    started = machines.unit_times(roles.passive, UNIT, died)["starting"]
    contender.switch_on(roles.active)
    return Takeover(contender.name, number, roles.active, busy, round(phase, 3), started - died, ready - died)


def switch_over(contender: DualJoe, number: int) -> Move:
    """`dualjoe switchover` to the other node."""
    roles = contender.settled()
    busy = machines.calm_down()
    with machines.watching(roles.active, roles.passive) as (old, new):
        asked = time.time()
        machines.inside("t440", "dualjoe", "switchover")
        answered = time.time()
        ready = new.since(asked, ready=True)
        lost = old.since(asked, ready=False)
    source = machines.unit_times(roles.active, UNIT, asked)
    sync, publish, target = (machines.unit_times(roles.passive, unit, asked) for unit in (SYNC, PUBLISH, UNIT))
    moments = {
        "stop begins": source["stopping"],
        "stopped": source["stopped"],
        "sync begins": sync["starting"],
        "sync ends": sync["started"],
        "publish begins": publish["starting"],
        "publish ends": publish["started"],
        "start begins": target["starting"],
        "ready": ready,
        "command answers": answered,
    }
    steps = {step: moment - asked for step, moment in moments.items()}
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


def take_turns(results: Results, contenders: Sequence[Contender], rounds: int, dice: random.Random) -> None:
    """Every contender dies once in each round."""
    plans = {contender.name: phases(rounds, dice) for contender in contenders}
    for number in range(rounds):
        for contender in contenders:
            seen = die(contender, number + 1, plans[contender.name][number])
            results.takeovers.append(seen)
            told = f"phase {seen.phase:.2f}  start command {seen.start_command:.2f} s  ready {seen.ready:.2f} s"
            say(f"  {number + 1}. {contender.name:<18} {told}  (computer {seen.busy:.0%} busy before)")
    results.settings |= {contender.name: contender.setting for contender in contenders}


def move_in_turns(results: Results, contender: DualJoe, rounds: int) -> None:
    """A switchover, and a stop and start, in each round."""
    turns: tuple[Callable[[int], Move], ...] = (restart, lambda number: switch_over(contender, number))
    for number in range(rounds):
        for turn in turns:
            seen = turn(number + 1)
            results.moves.append(seen)
            told = f"ready {seen.ready:.2f} s  nobody served {seen.unserved:.2f} s"
            say(f"  {number + 1}. {seen.contender:<18} {told}  (computer {seen.busy:.0%} busy before)")
    results.settings[contender.name] = contender.setting


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


def measure(options: argparse.Namespace, results: Results) -> None:
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
        known: dict[str, Contender] = {
            "keepalived": Keepalived(image, options.gateway),
            "pacemaker": Pacemaker(image, options.gateway),
            "dual-joe": DualJoe(options.profile),
        }
        chosen = [known[name] for name in options.contenders]
        for contender in chosen:
            say(f"Setting up {contender.name} ...")
            contender.up()
        say("Death of the active, in turns:")
        take_turns(results, chosen, options.rounds, dice)
    if options.default_rounds or options.moves:
        usual = DualJoe(None)
        say(f"Setting up {usual.name} ...")
        usual.up()
        if options.default_rounds:
            say("Death of the active:")
            take_turns(results, [usual], options.default_rounds, dice)
        if options.moves:
            say("A planned move, and the gateway's own stop and start, in turns:")
            move_in_turns(results, usual, options.moves)


def uses_lab(options: argparse.Namespace) -> bool:
    return bool(options.moves or options.default_rounds or (options.rounds and "dual-joe" in options.contenders))


def main() -> int:
    """Exit code 0 when all was measured; what was measured before a failure is printed and written all the same."""
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
            measure(options, results)
    finally:
        results.write(options.output)
        say(f"\n{results.markdown()}\nwritten to {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
