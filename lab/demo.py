#!/usr/bin/env python3
"""The main job, seen working: three machines in containers, a real gateway, and PC-A dies.

Every step says what happened and how long it took; the first one that is not seen true ends the demo with exit code 1
and leaves the lab up to be looked at.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from pair import Pair, Sampler, playbook, recap, wait_until

STATE_DIR = "/srv/openclaw"
LINE = "The spare key to the boathouse hangs behind the blue barometer."
MEMORY = f"{STATE_DIR}/workspace/MEMORY.md"


class NotSeen(Exception):
    """A step of the demo did not come true."""


def say(text: str = "") -> None:
    print(text, flush=True)


def step(number: int, title: str, work: Callable[[], str]) -> None:
    """Do one step; print what it says happened and how long it took."""
    say(f"\n{number:2}. {title}")
    began = time.monotonic()
    told = work()
    for line in told.splitlines():
        say(f"    {line}")
    say(f"    ({time.monotonic() - began:.1f} s)")


def run_playbook(*arguments: str) -> str:
    """Run a playbook; its output is shown only when it fails. Returns the recap."""
    done = playbook(*arguments)
    if done.returncode != 0:
        say(done.stdout[-6000:] + done.stderr[-2000:])
        raise NotSeen(f"{' '.join(arguments)} failed with exit code {done.returncode}")
    counts = recap(done.stdout).items()
    return "\n".join(f"{name}: {told['ok']} tasks, {told['changed']} changed something" for name, told in counts)


class Demo:
    """The steps, in their order."""

    def __init__(self) -> None:
        self.pair: Pair
        self.sampler = Sampler()
        self.sampling = threading.Thread(target=self.sampler.watch, daemon=True)

    def machines(self) -> str:
        run_playbook("lab/create.yml")
        self.pair = Pair.of_the_lab()
        return "t440, pc-a and pc-b run (and a Telegram of their own)"

    def provisioned(self) -> str:
        return run_playbook("site.yml")

    def joe_at_home(self) -> str:
        wait_until(lambda: self.pair.gateway_ready("pc-a"), "the gateway on PC-A is ready", 240)
        self.sampling.start()
        self._only("pc-a")
        return f"Ada: /status\nJoe (on PC-A): {first_lines(self.pair.ask_joe('/status'))}"

    def memory_synced(self) -> str:
        write = f"mkdir -p $(dirname {MEMORY}) && echo {shlex.quote('- ' + LINE)} >> {MEMORY}"
        self.pair.on("pc-a", "runuser", "-u", "openclaw01", "--", "sh", "-c", write)
        table = self.pair.on("pc-b", "cat", "/etc/cron.d/dualjoe-memory-sync").stdout
        user, command = cron_job(table)
        self.pair.on("pc-b", "runuser", "-u", user, "--", "sh", "-c", command)
        self._remembered("pc-b")
        return f"PC-A wrote: {LINE}\nPC-B ran, as cron does: {command}   (as {user})\nand has the line"

    def primary_killed(self) -> str:
        self.pair.kill("pc-a")
        killed = time.time()
        seconds = wait_until(lambda: self.pair.gateway_ready("pc-b"), "the gateway on PC-B is ready", 180)
        self._only("pc-b")
        return f"PC-B is ready {seconds:.1f} s after the kill\n{self._split(killed)}"

    def joe_away(self) -> str:
        answer = self.pair.ask_joe("/status")
        self._remembered("pc-b")
        told = f"Ada: /status\nJoe (on PC-B): {first_lines(answer)}"
        return f"{told}\nPC-B's memory: {LINE}"

    def alert(self) -> str:
        wait_until(lambda: any("pc-b" in text.lower() for text in self.pair.alerts()), "an alert names PC-B", 30)
        return next(text for text in reversed(self.pair.alerts()) if "pc-b" in text.lower())

    def home_again(self) -> str:
        self.pair.start("pc-a")
        seconds = wait_until(
            lambda: self.pair.gateway_ready("pc-a") and not self.pair.gateway_runs("pc-b"), "Joe is home", 300
        )
        self._only("pc-a")
        answer = self.pair.ask_joe("/status")
        return f"Joe is home {seconds:.1f} s after PC-A was switched on\nJoe (on PC-A): {first_lines(answer)}"

    def one_joe(self) -> str:
        self.sampler.stop()
        self.sampling.join()
        if self.sampler.seen != {"pc-a", "pc-b"} or self.sampler.overlaps:
            raise NotSeen(f"gateways seen on {self.sampler.seen}, on both at once at {self.sampler.overlaps}")
        return f"{self.sampler.samples} samples of both machines' processes: never two gateways"

    def _only(self, node: str) -> None:
        other = {"pc-a": "pc-b", "pc-b": "pc-a"}[node]
        state = self.pair.on(node, "systemctl", "is-active", "openclaw-gateway", check=False).stdout.strip()
        if state != "active" or self.pair.gateway_runs(other):
            raise NotSeen(f"the gateway should be active on {node} only; {node}: {state}")

    def _remembered(self, node: str) -> None:
        if LINE not in self.pair.on(node, "cat", MEMORY, check=False).stdout:
            raise NotSeen(f"{node} does not remember the line")

    def _split(self, killed: float) -> str:
        """Where the time went, by the watchdog's own timeline."""

        def failovers() -> list[dict[str, Any]]:
            events = [event for event in self.pair.timeline() if event["kind"] == "failover"]
            return [event["data"] for event in events if seconds_since_epoch(event["at"]) > killed]

        wait_until(lambda: bool(failovers()), "the timeline tells of the failover", 15)
        told = failovers()[-1]
        detection = seconds_since_epoch(told["confirmed_at"]) - killed
        waited, start = told["wait_seconds"], told["start_seconds"]
        return f"of which detection {detection:.1f} s, wait for the lease's end {waited:.1f} s, start {start:.1f} s"


def seconds_since_epoch(moment: str) -> float:
    return datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp()


def first_lines(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[0] + (" ..." if len(lines) > 1 else "")


def cron_job(table: str) -> tuple[str, str]:
    """(user, command) of the one job in a file of /etc/cron.d."""
    jobs = [line.split(None, 6) for line in table.splitlines() if line[:1] in "*0123456789" and line.strip()]
    if len(jobs) != 1:
        raise NotSeen(f"one cron job was expected, not {len(jobs)}")
    return jobs[0][5], jobs[0][6]


HELP = """
Look around:
  docker exec pc-a dualjoe status            what the guard on PC-A says
  docker exec t440 dualjoe status            the pair at a glance
  docker exec t440 dualjoe timeline          what happened, and why
  .venv/bin/ansible-playbook -i lab/inventory playbooks/status.yml
  docker kill pc-a                           do it again; then: docker start pc-a
  make demo-down                             remove everything"""


def main() -> int:
    """Exit code 0 only when every step was seen true."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    demo = Demo()
    steps = (
        ("Three machines start", demo.machines),
        ("ansible-playbook site.yml provisions them", demo.provisioned),
        ("Joe serves at home and answers in Telegram", demo.joe_at_home),
        ("A line of memory reaches PC-B", demo.memory_synced),
        ("PC-A is killed; PC-B takes over", demo.primary_killed),
        ("Joe answers in the same chat, and remembers", demo.joe_away),
        ("The alert that went out", demo.alert),
        ("PC-A comes back; Joe goes home", demo.home_again),
        ("One Joe, all along", demo.one_joe),
    )
    began = time.monotonic()
    try:
        for number, (title, work) in enumerate(steps, 1):
            step(number, title, work)
    except (NotSeen, TimeoutError, RuntimeError) as error:
        say(f"\nNOT SEEN: {error}\nThe lab is left as it is. {HELP.strip()}")
        return 1
    say(f"\nAll {len(steps)} steps were seen true in {time.monotonic() - began:.0f} s.")
    say(HELP)
    return 0


if __name__ == "__main__":
    sys.exit(main())
