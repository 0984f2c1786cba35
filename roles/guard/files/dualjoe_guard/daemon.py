"""The guard's loops: keep the deadline, watch the gateway, answer the verbs.

What is allowed stands in ``dualjoe.lease``, the verdict on the gateway in ``dualjoe.health``; here is only the I/O.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pwd
import signal
import socket
import struct
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from dualjoe import alerts, health, installed, job_results, lease, sdnotify, wire
from dualjoe.wire import Refused, Request

from . import epochs, reports
from .gateway import Command, Gateway, UnitState, run
from .handover import Handover, become_successor, inherited
from .people import People
from .settings import Settings

log = logging.getLogger("dualjoe-guard")

TICK_SECONDS = 0.2
WATCH_SECONDS = 1.0
PEER_SECONDS = 5.0  # a peer's answer must be here by then
REQUEST_SECONDS = 5.0  # a caller must have sent its line by then
TELL_SECONDS = 5.0
SETTLE_SECONDS = 2.0  # systemd may still show a unit as running for a moment when its last process is gone
CHECK_UNIT = "openclaw-gateway-check.service"
SYNC_UNIT = "dualjoe-memory-sync.service"
PUBLISH_UNIT = "dualjoe-memory-publish.service"
SLOW_VERBS = frozenset({"grant", "revoke", "sync", "pause", "resume"})


def boot_clock() -> int:
    """Nanoseconds since boot, suspended time included."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def _utc_now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")


class Guard:
    """Owns the gateway's unit on one node."""

    def __init__(
        self,
        settings: Settings,
        gateway: Gateway,
        boot_id: str,
        clock: Callable[[], int] = boot_clock,
        handover: Handover | None = None,
    ) -> None:
        self.settings = settings
        self._clock = clock
        self.gateway = gateway
        self.epoch_mistake = ""
        epoch = term = hold = 0
        try:
            epoch, term, hold = epochs.load(settings.root / "epoch.json")
        except epochs.BadEpochFile as error:
            self.epoch_mistake = f"{error}; mend that by 'dualjoe epoch reset' on this node"
            log.error("no grant is accepted until then: %s", self.epoch_mistake)
        self._word_ns = lease.hold_ns(settings.ttl_seconds, settings.margin_seconds)
        self.state = inherited(lease.started(boot_id, epoch, term, clock(), self._word_ns, hold), handover)
        self.health, self.health_since = health.Health(), _utc_now()
        if handover is not None and self.state is handover.state:
            self.health, self.health_since = handover.health, handover.since
        self.unfit: list[str] = []
        self.full_check = "unknown"
        self.full_checks = 0  # finished in this term: a reader counts each verdict once
        self.peer_reachable: bool | None = None
        self._transition = asyncio.Lock()  # one grant or revoke at a time
        self._fencing = asyncio.Lock()
        # The gateway was started for the lease at hand.
        self._wanted = self.state.lease is not None and handover is not None and handover.wanted
        self._free_since = self._witness_at = self._seconds()
        self._stray_at: float | None = None
        self._answering = 0  # verbs that change something
        self._reload = asyncio.Event()
        self.people = People(settings.pair, settings.telegram, settings.reminder_seconds, settings.runbook_url)
        self._background: set[asyncio.Task[Any]] = set()
        self._account_uid = _uid(settings.account)

    # ---- the deadline

    def tick(self) -> None:
        """Keep the deadline. Never waits: it must run whatever else is stuck."""
        current = self.state.lease
        if current is None:
            return
        duty = lease.duty(self.state, self._clock(), self.settings.stop_ns)
        if duty == "stop" and not current.ending:
            log.warning("epoch=%d the lease ends in %s s: stopping the gateway", current.epoch, self._left())
            self.state = lease.begin_end(self.state)
            self._spawn(self.gateway.ask_to_stop())
        elif duty == "kill":
            killed = self.gateway.kill()
            if killed:
                log.error("epoch=%d the lease is over: killed %s", current.epoch, killed)
                return  # looked at again at the next tick, until nothing is left
            log.warning("epoch=%d the lease is over", current.epoch)
            self._drop_lease()

    def _seconds(self) -> float:
        return self._clock() / lease.SECOND

    def _left(self) -> float | None:
        return lease.seconds_left(self.state, self._clock())

    def _holds(self, epoch: int) -> bool:
        """Whether the gateway may run, by the clock: after a pause, others may ask before the tick has looked."""
        current = self.state.lease
        if current is None or current.epoch != epoch:
            return False
        return lease.duty(self.state, self._clock(), self.settings.stop_ns) == "run"

    def _drop_lease(self) -> None:
        self.state = replace(self.state, lease=None)
        self._wanted = False
        self._free_since = self._seconds()
        self._judged(health.stopped(self.health))

    # ---- the gateway

    async def _keep_watch(self) -> None:
        while True:
            await self.watch()
            # Joe is awaited: while he starts, he is not left to wait for the next look.
            await asyncio.sleep(TICK_SECONDS if self.health.state == "starting" else WATCH_SECONDS)

    async def watch(self) -> None:
        """One look at the unit: what runs without a lease is stopped, what should run is kept running."""
        unit = await self.gateway.state()
        self.unfit = self._unfitness(unit)
        if self.state.lease is None:
            if unit is not None and not unit.stopped and not self._fencing.locked():
                log.error("the gateway runs without a lease: stopping it")
                if unit.running and self._seconds() - self._free_since > SETTLE_SECONDS:
                    self._stray_at = self._seconds()
                await self._fence()
            return
        if self.state.lease.ending:
            if unit is not None and unit.stopped:
                log.info("epoch=%d stopped before the lease is over", self.state.lease.epoch)
                self._drop_lease()
            return
        if not self._wanted:
            return
        epoch = self.state.lease.epoch
        reading = await self.gateway.read()
        paused = lease.paused_left(self.state, self._clock()) > 0
        limits = replace(self.settings.limits, max_restarts=0) if paused else self.settings.limits
        verdict, restart = health.observe(self.health, reading, self._seconds(), limits)
        if not self._holds(epoch):
            return
        self._judged(verdict)
        if restart and not paused:  # people work on it
            log.warning("epoch=%d restarting the gateway: %s", epoch, verdict.detail)
            await self._fence()
            if self._holds(epoch):
                await self._start()

    def _judged(self, verdict: health.Health) -> None:
        if verdict.state != self.health.state:
            self.health_since = _utc_now()
            log.info("gateway=%s was=%s %s", verdict.state, self.health.state, verdict.detail)
        self.health = verdict

    def _unfitness(self, unit: UnitState | None) -> list[str]:
        """Why this node could not run the gateway now."""
        reasons = [self.epoch_mistake] if self.epoch_mistake else []
        if unit is None:
            reasons.append("systemd does not answer")
        elif not unit.loaded:
            reasons.append(f"{self.gateway.unit} is not installed")
        folder = Path(self.settings.state_dir)
        try:
            (folder / "openclaw.json").stat()
        except OSError as error:
            reasons.append(f"the gateway's configuration cannot be read: {error}")
        for place in (folder, self.settings.root):
            with suppress(OSError):
                room = os.statvfs(place)
                if room.f_bavail * room.f_frsize < self.settings.free_bytes:
                    reasons.append(f"less than {self.settings.free_bytes // 2**20} MiB free at {place}")
        return reasons

    async def _start(self) -> Command:
        epoch = self.state.epoch
        self._wanted = False  # a unit that systemd has yet to start must not be taken for one that is gone
        self._judged(health.started(self.health, self._seconds()))
        self.full_check = "unknown"  # what was found of a gateway before its restart says nothing of it now
        command = await self.gateway.start()
        self._wanted = self._holds(epoch)
        if not self._wanted:  # the lease ended meanwhile, and what starts now has no right to an orderly stop
            async with self._fencing:
                await self.gateway.fence(0)
        return command

    async def _fence(self, orderly_seconds: float | None = None) -> bool:
        async with self._fencing:
            return await self.gateway.fence(self.settings.stop_seconds if orderly_seconds is None else orderly_seconds)

    def _orderly_seconds(self) -> float:
        """How long an orderly stop may take: not beyond the lease at hand. Asked before the lease is dropped, as nobody
        keeps its deadline then."""
        left = self._left()
        return self.settings.stop_seconds if left is None else max(0.0, min(self.settings.stop_seconds, left))

    # ---- the verbs

    async def probe(self, request: Request) -> dict[str, Any]:
        """State for witness, peer and people. A full check is started here and told by a later probe."""
        if request.full and self.health.state in ("ready", "unready"):
            self._spawn_once("full-check", self._check_fully())
        now = self._clock()
        return wire.ok(
            node=self.settings.node,
            boot_id=self.state.boot_id,
            stamp=str(lease.stamp(self.state, now)),
            epoch=self.state.epoch,
            term=self.state.term,
            role="passive" if self.state.lease is None else "active",
            lease_left=lease.seconds_left(self.state, now),
            promise_left=lease.promise_left(self.state, now),
            paused_left=lease.paused_left(self.state, now),
            forced=self._forced,
            stray_seconds_ago=None if self._stray_at is None else round(self._seconds() - self._stray_at, 1),
            gateway={
                "state": self.health.state,
                "since": self.health_since,
                "detail": self.health.detail,
                "restarts": len(self.health.restarts),
                "full_check": self.full_check,
                "full_checks": self.full_checks,
            },
            peer=self.settings.peer,
            peer_reachable=self.peer_reachable,
            memory=reports.memory(self.settings.root),
            jobs=job_results.read(self.settings.root / "jobs"),
            disk=installed.room(self.settings.root),
            library=installed.running(),
            fit=not self.unfit,
            unfit=self.unfit,
            time=_utc_now(),
        )

    async def renew(self, request: Request) -> dict[str, Any]:
        self.state = lease.renew(self.state, request, self._clock())
        return wire.ok(epoch=self.state.epoch, lease_left=self._left())

    async def grant(self, request: Request) -> dict[str, Any]:
        """Begin the term that the witness grants; answer when the gateway is ready."""
        return await self._begin(lambda now: lease.grant(self.state, request, now, self.settings.stop_ns))

    async def force(self, _request: Request) -> dict[str, Any]:
        """Begin a term on the operator's word that the peer is off. What can be seen of that is looked at first."""
        if self._forced:
            return wire.ok(epoch=self.state.epoch, gateway=self.health.state, changed=False)
        self._refuse_beside_witness()
        answer = await self.ask_peer(wire.request("probe"))
        if answer.get("error") != "unreachable":
            raise Refused("peer_alive", f"{self.settings.peer} answers, so it is not off: switch it off first")
        return dict(await self._begin(self._forced_term), changed=True)

    async def reset(self, request: Request) -> dict[str, Any]:
        """Go on after the epoch file was lost, from the epoch that the operator tells."""
        async with self._transition:
            if not self.epoch_mistake:
                await self._store_what_was_lost()
            else:
                served = reports.served(self.settings.root)
                await self._store(lease.reset(self.state, request, served, self._clock(), self._word_ns))
                self.state = lease.reset(self.state, request, served, self._clock(), self._word_ns)
                self.epoch_mistake = ""
        log.warning("epoch=%d term=%d stored anew on the operator's word", self.state.epoch, self.state.term)
        left = lease.promise_left(self.state, self._clock())
        return wire.ok(node=self.settings.node, epoch=self.state.epoch, promise_left=left)

    async def _store_what_was_lost(self) -> None:
        """The file was lost under this guard, which knows all of it."""
        try:
            epochs.load(self.settings.root / "epoch.json")
        except epochs.BadEpochFile:
            await self._store(self.state)
        else:
            raise Refused("not_broken", f"the epoch file is well: epoch {self.state.epoch}, nothing to reset")

    def _forced_term(self, now: int) -> lease.NodeState:
        """T440 may have come back while the peer was asked: whom it has heard, it takes for passive for a while."""
        self._refuse_beside_witness()
        return lease.force(self.state, now, self.settings.node, self.settings.peer)

    def _refuse_beside_witness(self) -> None:
        silent = self._seconds() - self._witness_at
        if silent < self.settings.ttl_seconds:
            told = f"the watchdog on T440 was heard {silent:.0f} s ago"
            raise Refused("witness_alive", f"{told}: have it move Joe, with failover.yml without force")

    async def _begin(self, begun: Callable[[int], lease.NodeState]) -> dict[str, Any]:
        """A term: store it, publish the memory, start the gateway, return when it is ready."""
        began = self._seconds()
        async with self._transition:
            if self.epoch_mistake:
                raise Refused("no_epoch_file", self.epoch_mistake)
            state = begun(self._clock())
            await self._store(state)
            self._judged(health.Health())
            self.full_check, self.full_checks = "unknown", 0
            self.state = state
        epoch = state.epoch
        log.info("epoch=%d %s", epoch, "begun on the operator's word" if self._forced else f"granted, {self._left()} s")
        published = await run("systemctl", "start", PUBLISH_UNIT, timeout=self.settings.publish_seconds)
        if not published.ok:  # memory never blocks a takeover; the reply and the job's result tell
            log.error("epoch=%d the memory was not published: %s", epoch, published.output)
        await self._serve(epoch)
        return wire.ok(
            epoch=epoch,
            gateway=self.health.state,
            published=published.ok,
            memory=reports.memory(self.settings.root),
            start_seconds=round(self._seconds() - began, 3),
        )

    @property
    def _forced(self) -> bool:
        return self.state.lease is not None and self.state.lease.forced

    async def _serve(self, epoch: int) -> None:
        """Start the gateway and wait until it serves. Otherwise stop it, drop the lease and raise Refused."""
        started = Command(1, "the lease was lost before the start")
        if self._holds(epoch):
            started = await self._start()
        give_up_at = self._seconds() + self.settings.limits.start + 10
        while started.ok and self._holds(epoch) and self._seconds() < give_up_at:
            if self.health.state in ("ready", "unready"):
                return
            if self.health.state == "failed":
                break
            await asyncio.sleep(TICK_SECONDS)
        why = self.health.detail if started.ok else started.output
        async with self._transition:
            if self.state.epoch != epoch:
                raise Refused("revoked", f"epoch {epoch} was ended while the gateway was starting")
            orderly_seconds = self._orderly_seconds()
            self._drop_lease()
            if not await self._fence(orderly_seconds):
                raise Refused("not_stopped", "the gateway did not start and could not be stopped")
        raise Refused("not_ready", f"the gateway did not become ready and is stopped: {why or 'no reason given'}")

    async def revoke(self, request: Request) -> dict[str, Any]:
        """End a term; answers when nothing of the gateway is left."""
        async with self._transition:
            revoked = lease.revoke(self.state, request)
            if revoked.epoch != self.state.epoch:
                await self._store(revoked)
            orderly_seconds = self._orderly_seconds()
            self.state = revoked
            self._drop_lease()
            if not await self._fence(orderly_seconds):
                raise Refused("not_stopped", "the gateway could not be stopped")
        log.info("epoch=%d revoked, the gateway is stopped", request.epoch)
        return wire.ok(epoch=self.state.epoch, stopped=True)

    async def promise(self, request: Request) -> dict[str, Any]:
        """Give the peer one's word not to take over for a while, so that it can go on without the witness."""
        if request.ttl > self.settings.ttl_seconds:
            raise Refused("bad_request", f"a promise is for at most {self.settings.ttl_seconds:g} s here")
        async with self._transition:
            await self._change(lambda now: lease.promise(self.state, request, now, self.settings.margin_seconds))
        log.info("epoch=%d promised not to take over for %g s", request.epoch, request.ttl)
        return wire.ok(epoch=self.state.epoch)

    async def pause(self, request: Request) -> dict[str, Any]:
        """People are going to work on the pair: go on without renewals, or take no grant, for a while."""
        async with self._transition:
            await self._change(
                lambda now: lease.pause(
                    self.state, request, now, self.settings.ttl_seconds, self.settings.margin_seconds
                )
            )
        log.warning("epoch=%d paused for %g s", self.state.epoch, request.ttl)
        return self._paused()

    async def resume(self, request: Request) -> dict[str, Any]:
        """The pause is over."""
        async with self._transition:
            await self._change(lambda now: lease.resume(self.state, request, now, self.settings.ttl_seconds))
        if self._wanted and self.health.state != "ready":
            self._judged(health.started(self.health, self._seconds()))  # what people left behind gets its chance
        log.warning("epoch=%d the pause is over", self.state.epoch)
        return self._paused()

    def _paused(self) -> dict[str, Any]:
        return wire.ok(epoch=self.state.epoch, paused_left=lease.paused_left(self.state, self._clock()))

    async def _change(self, changed: Callable[[int], lease.NodeState]) -> None:
        """The next state, of which what is durable is stored first. The clock goes on while the disk writes."""
        state = changed(self._clock())
        if (state.epoch, state.hold) != (self.state.epoch, self.state.hold):
            await self._store(state)
        self.state = changed(self._clock())

    async def sync(self, _request: Request) -> dict[str, Any]:
        """Fetch the peer's memory now; answers when that is done."""
        if self.state.lease is not None:
            raise Refused("active", "this node is active: its memory is the newest")
        command = await run("systemctl", "start", SYNC_UNIT, timeout=self.settings.sync_seconds)
        job = job_results.read(self.settings.root / "jobs").get("memory-sync", {})
        if not command.ok:
            raise Refused("sync_failed", str(job.get("message") or command.output or "no reason given"))
        return wire.ok(result=job.get("result"), generation=job.get("generation"))

    async def _store(self, state: lease.NodeState) -> None:
        try:
            path = self.settings.root / "epoch.json"
            await asyncio.to_thread(epochs.store, path, state.epoch, state.term, state.hold)
        except OSError as error:
            raise Refused("disk", f"the epoch could not be stored: {error}") from error

    async def _check_fully(self) -> None:
        epoch, started_at = self.state.epoch, self.health.started_at
        checked = await run("systemctl", "start", CHECK_UNIT, timeout=30)
        if self.state.lease is not None and (self.state.epoch, self.health.started_at) == (epoch, started_at):
            self.full_check = "ok" if checked.ok else "failed"
            self.full_checks += 1

    # ---- the peer

    async def look_at_peer(self) -> None:
        """Does the peer's guard answer? It is told as the second opinion in probes."""
        if not self._forced:  # otherwise it is seen by ``tell_peer``
            self.peer_reachable = (await self.ask_peer(wire.request("probe"))).get("ok") is True

    async def tell_peer(self) -> None:
        """On the operator's word alone the peer should be off. Where it is not, it learns of this term by a promise;
        and where it is active itself, the word was wrong, and two are one too many."""
        if not self._forced:
            return
        epoch = self.state.epoch
        reply = await self.ask_peer(wire.request("promise", epoch=epoch, ttl=self.settings.ttl_seconds))
        self.peer_reachable = reply.get("error") != "unreachable"
        if reply.get("error") == "active" and self._forced and self.state.epoch == epoch:
            log.error("epoch=%d %s is active as well: stopping here", epoch, self.settings.peer)
            async with self._transition:
                self._drop_lease()
                await self._fence()

    async def ask_for_promise(self) -> None:
        """When the witness has not renewed for long, ask the peer for its word, and go on with that."""
        current = self.state.lease
        left = self._left()
        if current is None or current.ending or left is None or left > self.settings.promise_left_seconds:
            return
        asked_at = self._clock()
        request = wire.request("promise", epoch=current.epoch, ttl=self.settings.ttl_seconds)
        reply = await self.ask_peer(request)
        if reply.get("ok") is True:
            self.state = lease.extend(self.state, current.epoch, asked_at, self.settings.ttl_seconds)
            log.warning("epoch=%d the witness is silent; going on with the peer's promise", current.epoch)
        else:
            log.warning("epoch=%d %s s left and no promise: %s", current.epoch, left, reply.get("message"))

    async def ask_peer(self, message: dict[str, Any]) -> dict[str, Any]:
        """The peer's answer to one line; a refusal of our own making where none came."""
        s = self.settings
        argv = (
            *("ssh", "-F", "none", "-T", "-i", str(s.etc / "keys" / "peer"), "-p", str(s.peer_port)),
            *("-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes"),
            *("-o", f"UserKnownHostsFile={s.etc / 'known_hosts'}", "-o", "ConnectTimeout=4"),
            f"{s.account}@{s.peer_address}",
        )
        answer = await run(*argv, timeout=PEER_SECONDS, stdin=wire.encode(message))
        try:
            return wire.decode(answer.output.encode() + b"\n")
        except wire.WireError:
            return Refused("unreachable", f"{s.peer} does not answer: {answer.output[-200:]}").reply()

    # ---- the socket

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: one line in, one line out."""
        try:
            line = await asyncio.wait_for(reader.readline(), REQUEST_SECONDS)
            reply = await self._reply(wire.decode(line), _peer_uid(writer))
        except wire.WireError as error:
            reply = Refused("bad_request", str(error)).reply()
        except (asyncio.TimeoutError, ValueError):
            reply = Refused("bad_request", "no whole line came").reply()
        with suppress(ConnectionError):
            writer.write(wire.encode(reply))
            await writer.drain()
        writer.close()

    async def _reply(self, raw: dict[str, Any], uid: int) -> dict[str, Any]:
        caller = raw.pop("as", "root" if uid == 0 else "local")
        if not isinstance(caller, str) or uid not in (0, self._account_uid):
            caller = "local"  # only the forced command's account may speak for someone
        if caller == "witness":
            self._witness_at = self._seconds()
        try:
            request = wire.parse_request(raw, caller)
            verbs: dict[str, Callable[[Request], Awaitable[dict[str, Any]]]] = {
                "probe": self.probe,
                "renew": self.renew,
                "grant": self.grant,
                "revoke": self.revoke,
                "pause": self.pause,
                "resume": self.resume,
                "force": self.force,
                "reset": self.reset,
                "sync": self.sync,
                "promise": self.promise,
            }
            self._answering += request.verb != "probe"
            try:
                reply = await verbs[request.verb](request)
            finally:
                self._answering -= request.verb != "probe"
            if request.verb in SLOW_VERBS:  # the witness need not ask how it is here now
                reply["probe"] = await self.probe(Request("probe"))
            return reply
        except Refused as refusal:
            log.info("caller=%s verb=%s refused=%s %s", caller, raw.get("verb"), refusal.code, refusal)
            return refusal.reply()

    async def tell_people(self) -> None:
        """What T440 cannot tell, because it is not there."""
        silent = self._seconds() - self._witness_at
        s = self.settings
        too_long = silent if silent > s.witness_silent_seconds else None
        self.people.tell(alerts.of_node(s.node, s.peer, too_long, self._forced), self._seconds())
        self._spawn_once("alerts", self.people.send())

    # ---- running

    async def serve(self) -> None:
        """Run until SIGTERM. The unit of the gateway is bound to ours, so it stops with us."""
        done = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, done.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload.set)
        sdnotify.notify("WATCHDOG=1")
        installed.running()  # once, and before what comes next may replace it on the disk
        await self.watch()  # the first answer already says whether this node is fit
        self.settings.socket.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self.answer, str(self.settings.socket), limit=wire.MAX_LINE_BYTES)
        self.settings.socket.chmod(0o660)
        loops = (
            asyncio.create_task(self._keep_watch()),
            asyncio.create_task(_every(self.settings.peer_interval_seconds, self.look_at_peer)),
            asyncio.create_task(_every(self.settings.promise_interval_seconds, self.ask_for_promise)),
            asyncio.create_task(_every(self.settings.ttl_seconds / 2, self.tell_peer)),
            asyncio.create_task(_every(TELL_SECONDS, self.tell_people)),
            asyncio.create_task(_every(WATCH_SECONDS, self.reload_when_asked)),
            asyncio.create_task(done.wait()),
        )
        sdnotify.notify("READY=1")
        log.info("node=%s epoch=%d term=%d ready", self.settings.node, self.state.epoch, self.state.term)
        while not any(task.done() for task in loops):
            self.tick()
            sdnotify.notify("WATCHDOG=1")
            await asyncio.sleep(TICK_SECONDS)
        sdnotify.notify("STOPPING=1")
        server.close()
        for task in loops:
            if task.done():
                task.result()  # a loop that broke ends the guard, loudly; systemd starts it again
            task.cancel()

    async def reload_when_asked(self) -> None:
        """SIGHUP: go on with the code and the settings that are on disk now. The gateway notices nothing."""
        if not self._reload.is_set():
            return
        checked = await run(*sys.argv, "--check-config", timeout=10)
        if not checked.ok:
            self._reload.clear()
            log.error("not reloaded, going on as before: %s", checked.output)
            return
        if self._answering or self._fencing.locked():
            return  # in a moment
        self._reload.clear()
        log.info("epoch=%d reloading", self.state.epoch)
        try:
            become_successor(Handover(self.state, self.health, self.health_since, self._wanted))
        except OSError as error:
            log.error("not reloaded, going on as before: %s", error)

    def _spawn(self, work: Awaitable[Any], name: str = "") -> None:
        task = asyncio.ensure_future(work)
        if name:
            task.set_name(name)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _spawn_once(self, name: str, work: Any) -> None:
        if any(task.get_name() == name for task in self._background):
            work.close()
            return
        self._spawn(work, name)


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        await work()
        await asyncio.sleep(seconds)


def _peer_uid(writer: asyncio.StreamWriter) -> int:
    channel = writer.get_extra_info("socket")
    credentials = channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])


def _uid(account: str) -> int:
    try:
        return pwd.getpwnam(account).pw_uid
    except KeyError:
        return -1
