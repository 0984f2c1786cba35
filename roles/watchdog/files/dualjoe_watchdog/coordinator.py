"""Watches the nodes and carries out what ``dualjoe.takeover`` decides.

The order of each step is the promise: decide, store the record, then act. Nothing here decides who serves.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any, Protocol

from dualjoe import alerts, probes, sightings, takeover, wire
from dualjoe.pair import Action, Decision, Pause, Policy, Record, Sighting, World

from . import after_move, own_jobs
from .nodes import Unreachable
from .outbox import Outbox
from .settings import Settings
from .store import Store
from .troubles import Troubles

log = logging.getLogger("dualjoe-watchdog")

STEP_SECONDS = 1.0  # at most between two decisions; a short heartbeat asks for more
FRESH_SECONDS = 0.5  # a grant builds on a look no older than this
SERVING = ("ready", "unready")
MOVES = ("start", "failover", "failback", "switchover")  # the events that say who serves since when
_KINDS = {"failing_over": "failover", "fencing": "failover", "failing_back": "failback", "moving": "switchover"}


class Guard(Protocol):
    """A node's guard, as it can be asked."""

    async def ask(self, message: dict[str, Any], timeout: float) -> dict[str, Any]:
        """The reply to one request line. Raises Unreachable."""


def boot_clock() -> float:
    """Seconds since boot, suspended time included: a sleep of T440 must count against every lease."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass
class Move:
    """A change of holder under way. Clock figures are of ``boot_clock``."""

    kind: str
    reason: str
    origin: str | None
    began: float
    heard: float
    granted: float = 0.0


class Coordinator:
    """One pair."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        outbox: Outbox,
        guards: Mapping[str, Guard],
        clock: Callable[[], float] = boot_clock,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self.store = store
        self.outbox = outbox
        self.policy = Policy(
            settings.primary.name,
            settings.standby.name,
            settings.lease_timing(),
            settings.auto_failback,
            settings.holddown,
            settings.absent_wait,
            observe=store.mode(settings.mode) == "observe",
            fence=bool(settings.fence_command),
        )
        self.record = store.record()
        self.sightings = {name: Sighting(name) for name in guards}
        self.silences: dict[str, str] = {}
        self.busy: dict[str, str] = {}
        self.decision = Decision(self.record, "starting", "nothing is known yet")
        self.since = _utc()
        self._guards = guards
        self._clock = clock
        self._wall = wall
        self._started_at = clock()
        self._own = Sighting("T440")
        self._lease_sent_at: float | None = None
        self._pause_sent_at: float | None = None
        self._looking: set[str] = set()  # nodes that are looked at once more before they are granted
        self._took: dict[str, float] = {}  # node -> how long its last good check took, in seconds
        self._renewed: dict[str, str] = {}  # node -> the stamp of its last renewal
        self._checked: dict[str, float] = {}  # node -> when the last full check was asked for
        self._confirmed: dict[str, float] = {}  # node -> when its silence became certain
        self._move: Move | None = None
        self._served_by = self.record.holder  # a watchdog that starts in the midst of a failover knows where it began
        self._troubles = Troubles(store, settings.reminder, settings.runbook_url, clock, wall)
        self._short_of_room = False
        self._listeners: set[asyncio.Queue[dict[str, Any]]] = set()
        self._group = asyncio.TaskGroup()

    # ---- watching

    async def run(self, alive: Callable[[], None]) -> None:
        """Watch and act until cancelled. ``alive`` is called at every step."""
        async with self._group:  # what breaks ends the watchdog, loudly; systemd starts it again
            for name in self._guards:
                self._group.create_task(self._watch(name))
            self._group.create_task(self._watch_itself())
            while True:
                self.step()
                alive()
                await asyncio.sleep(min(STEP_SECONDS, self.policy.timing.heartbeat / 10))

    async def _watch_itself(self) -> None:
        folder = self.settings.state.parent
        while True:
            with suppress(OSError):  # then the store says what is wrong
                room = os.statvfs(folder)
                self._short_of_room = room.f_bavail * room.f_frsize < self.settings.free_bytes
            self._own = own_jobs.look(folder / "jobs", self._clock(), self._started_at)
            await asyncio.sleep(self.policy.timing.heartbeat)

    async def _watch(self, node: str) -> None:
        timing = self.policy.timing
        while True:
            began = self._clock()
            await self._probe(node)
            self.step()
            unsure = 0 < self.sightings[node].failures < timing.confirm_checks
            pause = timing.retry if unsure else began + timing.heartbeat - self._clock()
            await asyncio.sleep(max(0.0, pause))

    async def _probe(self, node: str) -> dict[str, Any] | None:
        """Look at a node once. The probe, or None where it did not answer as it should."""
        timing = self.policy.timing
        full = self._clock() - self._checked.get(node, float("-inf")) >= timing.full_check - timing.heartbeat / 2
        began = self._clock()
        if full:
            self._checked[node] = began
        try:
            probe = await self._guards[node].ask(wire.request("probe", full=full), timing.verb_timeout)
            mistake = _mistake(node, probe, self.record.farthest)
        except Unreachable as error:
            probe, mistake = {}, str(error)
        if mistake:
            self._missed(node, mistake)
            return None
        self._took[node] = self._clock() - began
        self._heard(node, probe)
        return probe

    def _heard(self, node: str, probe: dict[str, Any]) -> None:
        """The node told how it is; what another answer has overtaken tells nothing."""
        if (_seconds_after(self.sightings[node].probe, probe) or 0) < 0:
            return
        if node in self._confirmed:
            silent = self._clock() - (self.sightings[node].heard_at or self._started_at)
            self._tell("heard_again", f"{node} answers again", node, {"silent_seconds": round(silent, 1)})
        self._confirmed.pop(node, None)
        self.silences.pop(node, None)
        self.sightings[node] = sightings.heard(
            self.sightings[node], probe, self._clock(), self.policy.timing.confirm_checks
        )

    def _heard_with(self, node: str, reply: Mapping[str, Any]) -> bool:
        """Whether the answer to a slow verb told how the node is now, as that of a guard of this version does.

        Not so where it was long under way, by the clocks of both sides, or a check was missed meanwhile.
        """
        probe, known = reply.get("probe"), self.sightings[node]
        if not isinstance(probe, dict) or _mistake(node, probe, self.record.farthest) or not known.heard:
            return False
        there, here = _seconds_after(known.probe, probe), self._clock() - (known.heard_at or 0)
        if there is None or there < 0 or here - there > FRESH_SECONDS:
            return False
        self._heard(node, probe)
        return True

    def _missed(self, node: str, why: str) -> None:
        self.sightings[node] = sightings.missed(self.sightings[node])
        self.silences[node] = why
        failures = self.sightings[node].failures
        log.info("pair=%s node=%s missed=%d %s", self.settings.pair, node, failures, why)
        if failures == self.policy.timing.confirm_checks:
            self._confirmed[node] = self._clock()
            self._tell("silent", f"{node} does not answer: {why}", node)

    # ---- deciding

    def step(self) -> None:
        """Decide, store, act. Of what cannot be stored, only people are told, and the holder is renewed."""
        world = self._world()
        decision = takeover.decide(self.record, world, self.policy)
        if self._must_look_first(decision, world.now):
            return
        if not self._store(decision.record):
            decision = takeover.unwritten(decision, self.record, world)
        self._note(decision)
        for action in decision.actions:
            if action.verb == "renew":
                self._renew(action)
            elif action.node not in self.busy:
                self._begin(action, decision)

    def _world(self) -> World:
        return World(
            now=self._clock(),
            started_at=self._started_at,
            sightings=self.sightings,
            last_lease_sent_at=self._lease_sent_at,
            last_pause_sent_at=self._pause_sent_at,
            busy=self.busy,
            wall=self._wall(),
        )

    def _must_look_first(self, decision: Decision, now: float) -> bool:
        """Whether a grant is due to a node that was not looked at just now.

        Its stamp would be old, and it may have given a promise since. So it is looked at, and decided about again;
        nothing is stored before.
        """
        for node in (action.node for action in decision.actions if action.verb == "grant"):
            if now - (self.sightings[node].heard_at or 0) > FRESH_SECONDS:
                if node not in self._looking:
                    self._looking.add(node)
                    self._group.create_task(self._look(node))
                return True
        return False

    async def _look(self, node: str) -> None:
        await self._probe(node)
        self._looking.discard(node)
        self.step()

    def _store(self, record: Record) -> bool:
        """Have the record on disk. False, loudly, where that cannot be: then nothing may follow from it."""
        if record == self.record:
            return True
        try:
            self.store.save_record(record)
        except sqlite3.Error as error:
            log.error("pair=%s the record cannot be stored, so nothing is done: %s", self.settings.pair, error)
            return False
        self.record = record
        return True

    def _note(self, decision: Decision) -> None:
        if decision.situation != self.decision.situation:
            self.since = _utc()
            words = (decision.situation, decision.reason)
            log.info("pair=%s epoch=%d %s: %s", self.settings.pair, self.record.epoch, *words)
            if decision.situation in alerts.NOT_SERVED:
                self._tell(decision.situation, decision.reason, self.record.holder)
        self.decision = decision
        holder = self.sightings.get(self.record.holder or "")
        if holder is not None and holder.heard and holder.active and holder.gateway in SERVING:
            self._served_by = holder.node
        self._look_for_troubles(decision)

    def _look_for_troubles(self, decision: Decision) -> None:
        """Have people told of those that begin, last and end."""
        confirm_checks, jobs = self.policy.timing.confirm_checks, self.settings.expected_jobs
        world, wall = (decision, self.sightings, confirm_checks, jobs, self._own), self._wall()
        troubles = alerts.standing(*world, wall)
        if self._short_of_room:
            troubles["disk"] = alerts.disk_full(str(self.settings.state.parent), self.settings.free_bytes)
        if self.mode == "observe" and self.settings.mode == "act":
            troubles["observing"] = alerts.OBSERVING
        troubles |= alerts.channels_down(self.outbox.down())
        unsure = {key: self._troubles.told[key].text for key in self._troubles.unsure}
        notices = self._troubles.look(troubles, alerts.lasting(unsure, *world, wall=wall) if unsure else {})
        for notice in notices:
            self.outbox.put(notice)
        if notices:  # a crash before this tells them twice rather than never
            self._troubles.keep()

    # ---- acting

    def _renew(self, action: Action) -> None:
        """Renew once per stamp: the same one again would add nothing."""
        stamp = str(self.sightings[action.node].probe["stamp"])
        if self._renewed.get(action.node) == stamp:
            return
        self._renewed[action.node] = stamp
        self._lease_sent_at = self._clock()
        self._group.create_task(self._send_renewal(action, stamp))

    async def _send_renewal(self, action: Action, stamp: str) -> None:
        request = wire.request("renew", epoch=action.epoch, stamp=stamp, ttl=self.policy.timing.ttl)
        try:
            reply = await self._guards[action.node].ask(request, self.policy.timing.verb_timeout)
        except Unreachable as error:
            log.warning("node=%s epoch=%d renewal unanswered: %s", action.node, action.epoch, error)
            return
        if reply.get("ok") is not True:
            log.warning("node=%s epoch=%d renewal refused: %s", action.node, action.epoch, reply.get("message"))

    def _begin(self, action: Action, decision: Decision) -> None:
        """Start a slow verb in the background."""
        kind = _KINDS.get(decision.situation, "start")
        moves = action.verb not in ("pause", "resume")
        if moves and (self._move is None or kind not in ("start", self._move.kind)):
            self._move = Move(
                kind=kind,
                reason=decision.reason,
                origin=self._served_by,
                began=self._confirmed.get(self._served_by or "", self._clock()),
                heard=self._last_heard(self._served_by),
            )
        self._tell(action.verb, decision.reason, action.node)
        self.busy[action.node] = action.verb
        work = {
            "grant": self._grant,
            "revoke": self._revoke,
            "sync": self._sync,
            "pause": self._pause,
            "resume": self._resume,
            "fence": self._fence,
        }[action.verb]
        self._group.create_task(self._slow(action, work))

    def _last_heard(self, node: str | None) -> float:
        """When a silent node was last heard; for one that is not silent, now."""
        heard = self.sightings[node].heard_at if node in self._confirmed and node is not None else None
        return self._clock() if heard is None else heard

    async def _slow(
        self, action: Action, work: Callable[[Action], Coroutine[Any, Any, Mapping[str, Any] | None]]
    ) -> None:
        reply = None
        try:
            reply = await work(action)
        except Unreachable as error:
            self._tell(f"{action.verb}_unanswered", str(error), action.node)
        if not self._heard_with(action.node, reply or {}):  # what was seen of it before must not be acted on
            await self._probe(action.node)
        self.busy.pop(action.node, None)
        self.step()

    async def _grant(self, action: Action) -> Mapping[str, Any]:
        self._lease_sent_at = granted = self._clock()
        stamp = self.sightings[action.node].probe["stamp"]
        request = wire.request("grant", epoch=action.epoch, stamp=stamp, ttl=self.policy.timing.ttl)
        reply = await self._guards[action.node].ask(request, self.settings.grant_timeout)
        if reply.get("ok") is True:
            self._granted(action, reply, granted)
        elif reply.get("error") == "not_ready":
            message = str(reply.get("message"))
            self._tell("not_ready", message, action.node)
            self._alert("not_ready", alerts.not_ready(action.node, message))
            self.sightings[action.node] = sightings.let_down(self.sightings[action.node], self._clock())
            self._store(takeover.on_grant_failed(self.record, action.node, action.epoch, self._world(), self.policy))
        else:
            self._tell("grant_refused", str(reply.get("message")), action.node)
            await asyncio.sleep(self.policy.timing.retry)
        return reply

    def _granted(self, action: Action, reply: Mapping[str, Any], granted: float) -> None:
        now = self._clock()
        move, self._move = self._move, None
        if move is None:
            return
        data = {
            "from": move.origin,
            "to": action.node,
            "epoch": action.epoch,
            "detection_seconds": round(move.began - move.heard, 3),
            "wait_seconds": round(granted - move.began, 3),
            "start_seconds": round(now - granted, 3),
            "last_heard_at": _utc(move.heard - now),
            "confirmed_at": _utc(move.began - now),
            "published": reply.get("published"),
            "memory_age_seconds": probes.memory_age(reply),
        }
        kind = move.kind if action.node != move.origin else "start"
        self._tell(kind, move.reason, action.node, data)
        if move.origin is not None:
            self._alert(kind, alerts.moved(kind, action.node, move.reason, data))
        self._served_by = action.node
        self._ask_for_converge(kind, action)

    async def _revoke(self, action: Action) -> Mapping[str, Any]:
        reply = await self._guards[action.node].ask(
            wire.request("revoke", epoch=action.epoch), self.policy.timing.stop + 15
        )
        if reply.get("ok") is not True:
            self._tell("revoke_failed", str(reply.get("message")), action.node)
            await asyncio.sleep(self.policy.timing.retry)
        else:
            self._store(takeover.on_revoked(self.record, action.node, action.epoch))
        return reply

    async def _sync(self, action: Action) -> Mapping[str, Any]:
        reply: Mapping[str, Any] = {}
        good, why = False, ""
        try:
            reply = await self._guards[action.node].ask(wire.request("sync"), self.settings.sync_timeout)
            good, why = reply.get("ok") is True, str(reply.get("message"))
        except Unreachable as error:
            why = str(error)
        if not good:
            self._tell("sync_failed", why, action.node)
            goes_on = self.record.vacant and self.record.rescue
            self._alert("not_synced", alerts.not_synced(action.node, why, goes_on))
            self.sightings[action.node] = sightings.let_down(self.sightings[action.node], self._clock())
            self._move = self._move if self.record.vacant else None
        self._store(takeover.on_synced(self.record, action.node, good, self.policy))
        return reply

    async def _pause(self, action: Action) -> Mapping[str, Any]:
        self._pause_sent_at = self._clock()
        return await self._tell_of_pause(action, min(action.seconds, wire.MAX_PAUSE_SECONDS))

    async def _resume(self, action: Action) -> Mapping[str, Any]:
        self._lease_sent_at = self._clock()
        return await self._tell_of_pause(action, self.policy.timing.ttl)

    async def _tell_of_pause(self, action: Action, ttl: float) -> Mapping[str, Any]:
        stamp = self.sightings[action.node].probe["stamp"]
        request = wire.request(action.verb, epoch=action.epoch, stamp=stamp, ttl=ttl)
        reply = await self._guards[action.node].ask(request, self.policy.timing.verb_timeout)
        if reply.get("ok") is not True:
            self._tell(f"{action.verb}_refused", str(reply.get("message")), action.node)
            await asyncio.sleep(self.policy.timing.retry)
        return reply

    async def _fence(self, action: Action) -> None:
        """Have the operator's own command switch a node off. Only its exit code 0 says that the node is off."""
        command = (*self.settings.fence_command, action.node)
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
        except OSError as error:
            await self._not_fenced(action.node, str(error))
            return
        try:
            async with asyncio.timeout(self.settings.fence_timeout):
                code = await process.wait()
        except TimeoutError:
            await self._not_fenced(action.node, f"it did not end within {self.settings.fence_timeout:g} s")
            return
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()  # also when the watchdog ends: nothing of it is left behind
        if code != 0:
            await self._not_fenced(action.node, f"it ended with {code}")
            return
        self._tell("fenced", "the fence command says that it is off", action.node)
        self._store(takeover.on_revoked(self.record, action.node, action.epoch))

    async def _not_fenced(self, node: str, why: str) -> None:
        self._tell("not_fenced", f"fence command {self.settings.fence_command[0]}: {why}", node)
        await asyncio.sleep(self.policy.timing.heartbeat)

    # ---- people

    def request_move(self, to: str, by: str, reason: str, *, dry_run: bool) -> tuple[bool, str]:
        """Ask for a switchover to node ``to``. Whether that changes something, and why it cannot be ('' is: it can)."""
        record, problem = takeover.request_move(self.record, to, by, reason, self._world(), self.policy)
        return self._asked(record, problem, f"{by} asks to move Joe to {to}: {reason}", to, dry_run=dry_run)

    def request_pause(self, seconds: float, by: str, reason: str, *, dry_run: bool) -> tuple[bool, str]:
        """Ask that nobody is moved for so many seconds. The same answer."""
        record, problem = takeover.request_pause(self.record, seconds, by, reason, self._world(), self.policy)
        return self._asked(record, problem, f"{by} pauses for {seconds:.0f} s: {reason}", None, dry_run=dry_run)

    def request_resume(self, by: str, *, dry_run: bool) -> tuple[bool, str]:
        """Ask for the end of a pause. The same answer."""
        return self._asked(takeover.request_resume(self.record), "", f"{by} ends the pause", None, dry_run=dry_run)

    def declare_off(self, node: str, by: str, *, dry_run: bool) -> tuple[bool, str]:
        """An operator says that a node is off for certain. The same answer."""
        record, problem = takeover.declare_off(self.record, node, self._world())
        return self._asked(record, problem, f"{by} says that {node} is off", node, dry_run=dry_run)

    def request_mode(self, mode: str, by: str, *, dry_run: bool) -> tuple[bool, str]:
        """Act, or only observe, until an operator says otherwise or the setting is changed. The same answer."""
        changes = mode != self.mode
        if changes and not dry_run:
            try:
                self.store.save_mode(mode, self.settings.mode)
            except sqlite3.Error as error:
                return False, f"the mode cannot be stored: {error}; see 'df -h /var/lib/dualjoe'"
            self.policy = replace(self.policy, observe=mode == "observe")
            self._tell("requested", f"{by} has T440 {'act' if mode == 'act' else 'only observe'}", None)
            self.step()
        return changes, ""

    @property
    def mode(self) -> str:
        """``act``, or ``observe``: the setting, unless an operator has switched it."""
        return "observe" if self.policy.observe else "act"

    def _asked(self, record: Record, problem: str, what: str, node: str | None, *, dry_run: bool) -> tuple[bool, str]:
        changes = not problem and record != self.record
        if changes and not dry_run:
            if not self._store(record):
                return False, "the request cannot be stored; look at the watchdog's log"
            self._tell("requested", what, node)
            self.step()
        return changes, problem

    def status(self) -> dict[str, Any]:
        """The pair at a glance."""
        return {
            "pair": self.settings.pair,
            "situation": self.decision.situation,
            "reason": self.decision.reason,
            "since": self.since,
            "epoch": self.record.epoch,
            "holder": self.record.holder,
            "moving_to": self.record.target,
            "stays_away": self.record.home_hold,
            "moved": self._last_move(),
            "mode": self.mode,
            "mode_setting": self.settings.mode,
            "pause": None if self.record.pause is None else self._pause_status(self.record.pause),
            "holddown_seconds": takeover.holddown(self.record, self._world(), self.policy),
            "nodes": self.nodes(),
            "jobs": self._own.probe.get("jobs", {}),
            "witness": dict(self._own.probe),
            "standing": {key: told.text for key, told in sorted(self._troubles.told.items())},
            "troubles": sorted(told.text for told in self._troubles.told.values()),
            "alert_channels": self.outbox.channels,
            "alerts_waiting": self.outbox.refused,
            "time": _utc(),
        }

    def _last_move(self) -> dict[str, Any] | None:
        """What a damaged disk cannot tell must not keep people from the rest."""
        try:
            return next(iter(self.store.events(1, kinds=MOVES)), None)
        except sqlite3.Error as error:
            log.error("pair=%s the last move cannot be read: %s", self.settings.pair, error)
            return None

    def _pause_status(self, pause: Pause) -> dict[str, Any]:
        known = all(s.paused for s in self.sightings.values())
        return {"by": pause.by, "reason": pause.reason, "until": _iso(pause.ends_at), "nodes_know": known}

    def nodes(self) -> dict[str, dict[str, Any]]:
        """What is known of each node, by its name."""
        now = self._clock()
        return {name: self._node_status(name, now) for name in self._guards}

    def _node_status(self, name: str, now: float) -> dict[str, Any]:
        sighting = self.sightings[name]
        return {
            "home": "primary" if name == self.policy.primary else "standby",
            "heard": sighting.heard,
            "heard_seconds_ago": None if sighting.heard_at is None else round(now - sighting.heard_at, 1),
            "failures": sighting.failures,
            "check_seconds": None if name not in self._took else round(self._took[name], 4),
            "silence": self.silences.get(name),
            "busy": self.busy.get(name),
            "probe": {k: v for k, v in sighting.probe.items() if k not in ("v", "ok")},
        }

    def note(self, kind: str, node: str | None, reason: str, data: dict[str, Any]) -> None:
        """Write down what the run after a move tells; people hear of its failure."""
        self._tell(kind, reason, node, data)
        if kind == "converge_failed":
            self._alert("not_converged", alerts.not_converged(reason))

    def _ask_for_converge(self, kind: str, action: Action) -> None:
        """Leave word of a move for the run that looks at what surrounds it. Nothing here waits for that run."""
        if self.settings.converge is None or kind == "start":
            return
        home = "primary" if action.node == self.policy.primary else "standby"
        move = after_move.Request(kind=kind, node=action.node, home=home, epoch=action.epoch, at=_utc())
        if problem := after_move.leave(self.settings.converge, move):
            self.note("converge_failed", action.node, problem, {})

    @contextmanager
    def listen(self) -> Iterator[asyncio.Queue[dict[str, Any]]]:
        """Events as they happen."""
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._listeners.add(queue)
        try:
            yield queue
        finally:
            self._listeners.discard(queue)

    def _tell(self, kind: str, reason: str, node: str | None, data: dict[str, Any] | None = None) -> None:
        """Write an event down. A full disk must not stop the watch, so a failure is only logged."""
        log.info("pair=%s node=%s epoch=%d event=%s %s", self.settings.pair, node, self.record.epoch, kind, reason)
        try:
            self.store.add_event(kind, reason, node, self.record.epoch, data or {})
        except sqlite3.Error as error:
            log.error("pair=%s the event cannot be stored: %s", self.settings.pair, error)
        event = {"at": _utc(), "kind": kind, "node": node, "epoch": self.record.epoch, "reason": reason}
        for queue in self._listeners:
            queue.put_nowait({**event, "data": data or {}})

    def _alert(self, kind: str, text: str) -> None:
        self.outbox.put(alerts.notice(kind, text, self.settings.runbook_url))


def _mistake(node: str, probe: Mapping[str, Any], farthest: int) -> str:
    """Why this reply is no probe of this node; '' when it is."""
    if probe.get("ok") is not True:
        return f"{node}: {probe.get('message')}"
    if probe.get("node") != node:
        return f"{node}: the guard there says that it is {probe.get('node')!r}"
    try:
        wire.Stamp.parse(str(probe.get("stamp")))
    except wire.Refused as refusal:
        return f"{node}: {refusal}"
    odd = probes.mistake(probe, farthest)
    return f"{node}: {odd}" if odd else ""


def _seconds_after(known: Mapping[str, Any], probe: Mapping[str, Any]) -> float | None:
    """How long after the ``known`` probe this one was told, by the node's clock; None where they are of two boots."""
    try:
        before, now = (wire.Stamp.parse(str(each.get("stamp"))) for each in (known, probe))
    except wire.Refused:
        return None
    return (now.nanoseconds - before.nanoseconds) / 1e9 if now.boot_id == before.boot_id else None


def _utc(offset: float = 0.0) -> str:
    return _iso(datetime.now(timezone.utc) + timedelta(seconds=offset))


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
