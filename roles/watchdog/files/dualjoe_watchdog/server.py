"""The control socket: what people and playbooks ask of the watchdog. Its client is ``dualjoe.control``."""

from __future__ import annotations

import asyncio
import pwd
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from dualjoe import wire
from dualjoe.notices import Notice
from dualjoe.wire import Refused

from .coordinator import SERVING, Coordinator
from .history import KEEP_SECONDS, MAX_POINTS, History

REQUEST_SECONDS = 5.0
ALERT_SECONDS = 30.0
LOOK_SECONDS = 0.1
MAX_EVENTS = 1000
POINTS = 168
PAUSE_SECONDS = 3600.0
MAX_NOTE_BYTES = 16384
NOTES = frozenset({"converge_started", "converge_task", "converge_done", "converge_canceled", "converge_failed"})
LOOKS = frozenset({"status", "timeline", "history"})  # what the web page asks,
ACTS = frozenset({"switch", "pause", "resume"})  # and what it may ask where it may act

Answer = AsyncIterator[dict[str, Any]]


class Server:
    """Answers one request per connection: event lines while it works, then one final line."""

    def __init__(self, coordinator: Coordinator, history: History, path: Path) -> None:
        self._coordinator = coordinator
        self._history = history
        self._path = path

    async def open(self) -> asyncio.Server:
        """Listen at the socket's path, for root and the group of the folder."""
        self._path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._connected, str(self._path), limit=wire.MAX_LINE_BYTES)
        self._path.chmod(0o660)
        return server

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            async for line in self._answer(reader, _user_of(writer)):
                writer.write(wire.encode(line))
                await writer.drain()
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, user: int) -> Answer:
        try:
            request = wire.decode(await asyncio.wait_for(reader.readline(), REQUEST_SECONDS))
            commands: dict[object, Callable[[dict[str, Any]], Answer]] = {
                "status": self._status,
                "timeline": self._timeline,
                "history": self._points,
                "switch": self._switch,
                "pause": self._pause,
                "resume": self._resume,
                "mode": self._mode,
                "declare-off": self._declare_off,
                "note": self._note,
                "alert-test": self._alert_test,
            }
            self._refuse_web(user, request.get("command"))
            answer = commands.get(request.get("command"), self._unknown)
            async for line in answer(request):
                yield line
        except Refused as refusal:
            yield refusal.reply()
        except (wire.WireError, TimeoutError, ValueError) as error:
            yield Refused("bad_request", str(error) or "no whole line came").reply()

    async def _unknown(self, _request: dict[str, Any]) -> Answer:
        yield Refused("bad_request", "no such command").reply()

    def _refuse_web(self, user: int, command: object) -> None:
        """The web page may be open to a whole network, so its service may ask for little, whoever has taken it over."""
        settings = self._coordinator.settings
        try:
            web = pwd.getpwnam(settings.web_user).pw_uid
        except KeyError:  # there is no web page here
            return
        if user == web and command not in (LOOKS | ACTS if settings.web_acts else LOOKS):
            raise Refused("not_allowed", f"the web page may not ask for {command!r}: see web_action_token")

    async def _status(self, _request: dict[str, Any]) -> Answer:
        yield wire.ok(**self._coordinator.status())

    async def _timeline(self, request: dict[str, Any]) -> Answer:
        limit = request.get("limit", 50)
        if type(limit) is not int or not 1 <= limit <= MAX_EVENTS:
            raise Refused("bad_request", f"limit must be a whole number from 1 to {MAX_EVENTS}")
        node, since, after = request.get("node"), request.get("since"), request.get("after", 0)
        if not (node is None or node in self._coordinator.sightings) or type(after) is not int or after < 0:
            nodes = ", ".join(self._coordinator.sightings)
            raise Refused("bad_request", f"node must be one of: {nodes}; after is the number of an event")
        kinds = request.get("kinds", [])
        if not isinstance(kinds, list) or len(kinds) > 50 or not all(isinstance(kind, str) for kind in kinds):
            raise Refused("bad_request", "kinds must be a list of at most 50 kinds of events")
        if since is not None:
            since = _moment(since)
        for event in self._coordinator.store.events(limit, node=node, kinds=kinds, since=since, after=after):
            yield {"event": event}
        yield wire.ok()

    async def _points(self, request: dict[str, Any]) -> Answer:
        seconds, points = request.get("seconds", KEEP_SECONDS), request.get("points", POINTS)
        if type(seconds) is not int or not 1 <= seconds <= KEEP_SECONDS:
            raise Refused("bad_request", f"seconds must be a whole number from 1 to {KEEP_SECONDS}")
        if type(points) is not int or not 1 <= points <= MAX_POINTS:
            raise Refused("bad_request", f"points must be a whole number from 1 to {MAX_POINTS}")
        for point in self._history.points(seconds, points):
            yield {"event": point}
        yield wire.ok()

    async def _alert_test(self, _request: dict[str, Any]) -> Answer:
        c = self._coordinator
        if not c.outbox.channels:
            raise Refused("no_channel", "no channel is configured: set watchdog_telegram_token and run site.yml")
        number = c.outbox.put(Notice("This is a test: alerts arrive. Nothing is to be done.", urgent=True))
        if missing := await c.outbox.missing(number, ALERT_SECONDS):
            told = f"not taken yet by: {', '.join(missing)}; see 'journalctl -u dualjoe-watchdog'"
            raise Refused("not_sent", f"the alert was {told}")
        yield wire.ok(sent=True, channels=c.outbox.channels)

    async def _note(self, request: dict[str, Any]) -> Answer:
        """Write down what the run after a move has to tell."""
        c = self._coordinator
        kind, node, reason, data = (request.get(field) for field in ("kind", "node", "reason", "data"))
        if not isinstance(kind, str) or kind not in NOTES or not (node is None or str(node) in c.sightings):
            raise Refused("bad_request", f"kind is one of {', '.join(sorted(NOTES))}, node is a node's name or null")
        if not isinstance(reason, str) or not 0 < len(reason) <= 500 or not isinstance(data, dict):
            raise Refused("bad_request", "reason is a short text, data an object")
        if len(wire.encode(data)) > MAX_NOTE_BYTES:
            raise Refused("bad_request", f"data has at most {MAX_NOTE_BYTES} bytes")
        c.note(kind, node, reason, data)
        yield wire.ok()

    async def _switch(self, request: dict[str, Any]) -> Answer:
        """Move Joe. Yields events; the final line says whether something changed."""
        c = self._coordinator
        to, (dry_run, by) = self._target(request.get("to")), _asker(request)
        was = c.record.holder
        with c.listen() as events:
            changes, problem = c.request_move(to, by, f"asked for by {by}", dry_run=dry_run)
            if problem:
                raise Refused("cannot", problem)
            plan = self._plan(was, to) if changes else []
            if dry_run or not changes:
                message = "; ".join(plan) or f"{to} serves already"
                yield wire.ok(changed=changes, node=to, message=message, steps=plan)
                return
            async for event in self._progress(events, to):
                yield {"event": event}
        if not self._serves(to):
            now = c.record.holder or "nobody"
            raise Refused("not_moved", f"Joe is not on {to} but on {now}: {c.decision.reason}; see 'dualjoe timeline'")
        yield wire.ok(changed=True, node=to, message=f"Joe runs on {to}", steps=plan)

    async def _pause(self, request: dict[str, Any]) -> Answer:
        """Have nobody moved for a while. Yields events; the final line says whether both nodes know."""
        c = self._coordinator
        dry_run, by = _asker(request)
        seconds, reason = request.get("seconds", PAUSE_SECONDS), request.get("reason") or "maintenance"
        good = type(seconds) in (int, float) and 1 <= seconds <= wire.MAX_PAUSE_SECONDS
        if not good or not isinstance(reason, str) or len(reason) > 200:
            longest = wire.MAX_PAUSE_SECONDS
            raise Refused("bad_request", f"seconds is a number from 1 to {longest:.0f}, reason is a short text")
        with c.listen() as events:
            changes, problem = c.request_pause(seconds, by, reason, dry_run=dry_run)
            if problem:
                raise Refused("cannot", problem)
            if not dry_run:
                async for event in self._until(events, lambda: all(s.paused for s in c.sightings.values()), 60):
                    yield {"event": event}
                if not all(s.paused for s in c.sightings.values()):
                    raise Refused("not_paused", "a node has not confirmed the pause; see 'dualjoe status'")
        message = f"paused for {seconds:.0f} s: Joe stays where he is, and nobody takes over"
        yield wire.ok(changed=changes, message=message)

    async def _resume(self, request: dict[str, Any]) -> Answer:
        c = self._coordinator
        dry_run, by = _asker(request)
        with c.listen() as events:
            changes, problem = c.request_resume(by, dry_run=dry_run)
            if problem:
                raise Refused("cannot", problem)
            if changes and not dry_run:
                async for event in self._until(events, self._nobody_runs_paused, 60):
                    yield {"event": event}
        yield wire.ok(changed=changes, message="Joe is watched again" if changes else "there is no pause")

    async def _mode(self, request: dict[str, Any]) -> Answer:
        """Have T440 act or only observe. The setting stays as it is, and counts again when it is changed."""
        c = self._coordinator
        dry_run, by = _asker(request)
        mode = request.get("mode")
        if mode not in ("act", "observe"):
            raise Refused("bad_request", "mode must be act or observe")
        changes, problem = c.request_mode(mode, by, dry_run=dry_run)
        if problem:
            raise Refused("cannot", problem)
        told = "T440 only observes: nobody is moved unless you ask for it" if mode == "observe" else "T440 acts"
        yield wire.ok(changed=changes, mode=mode, message=told)

    def _nobody_runs_paused(self) -> bool:
        return not any(s.paused and s.active for s in self._coordinator.sightings.values())

    async def _declare_off(self, request: dict[str, Any]) -> Answer:
        c = self._coordinator
        dry_run, by = _asker(request)
        node = self._target(request.get("node") or "")
        changes, problem = c.declare_off(node, by, dry_run=dry_run)
        if problem:
            raise Refused("cannot", problem)
        yield wire.ok(changed=changes, message=f"{node} counts as off; the other node takes over as soon as it is fit")

    async def _until(self, events: asyncio.Queue[dict[str, Any]], done: Callable[[], bool], seconds: float) -> Answer:
        """Events until something is so, or the time is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not done():
                    with suppress(TimeoutError):
                        yield await asyncio.wait_for(events.get(), LOOK_SECONDS)
        while not events.empty():
            yield events.get_nowait()

    async def _progress(self, events: asyncio.Queue[dict[str, Any]], to: str) -> Answer:
        """Events until the move is done, given up, or out of time."""
        c = self._coordinator
        s = c.settings
        limit = c.policy.timing.quiet_seconds + 2 * s.sync_timeout + 2 * s.grant_timeout
        async for event in self._until(events, lambda: self._serves(to) or self._given_up(to), limit):
            yield event

    def _target(self, asked: object) -> str:
        c = self._coordinator
        roles = {"primary": c.policy.primary, "standby": c.policy.standby}
        if asked is None:
            if c.record.holder is None:
                raise Refused("cannot", "nobody is known to be active, so there is no other node: name one")
            return c.policy.other(c.record.holder)
        target = roles.get(str(asked), str(asked))
        if target not in c.sightings:
            raise Refused("bad_request", f"'to' must be one of: {', '.join([*roles, *c.sightings])}")
        return target

    def _plan(self, was: str | None, to: str) -> list[str]:
        if was == to:
            return [f"{to} serves already; it keeps Joe until a failback is asked for"]
        if was is None or not self._coordinator.sightings[was].heard:
            steps = [f"wait until no lease of {was or 'anyone'} can be running"]
        else:
            fetch = f"fetch the memory from {was} to {to}"
            steps = [f"{fetch} while Joe still serves", f"stop the gateway on {was}", fetch]
        return [*steps, f"start the gateway on {to} and wait until it is ready"]

    def _serves(self, node: str) -> bool:
        c = self._coordinator
        seen = c.sightings[node]
        return c.record.holder == node and node not in c.busy and seen.heard and seen.active and seen.gateway in SERVING

    def _given_up(self, to: str) -> bool:
        record = self._coordinator.record
        return record.holder not in (None, to) and record.target != to


def _moment(told: object) -> str:
    """A moment with its time zone, as the store writes it. Raises Refused."""
    try:
        moment = datetime.fromisoformat(str(told))
        if moment.tzinfo is not None:
            return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError):
        pass
    raise Refused("bad_request", "since must be a moment such as 2026-11-24T06:00:00+00:00")


def _user_of(writer: asyncio.StreamWriter) -> int:
    """The id of the user at the other end, as the kernel tells it."""
    channel: socket.socket = writer.get_extra_info("socket")
    _pid, uid, _gid = struct.unpack("3i", channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(uid)


def _asker(request: dict[str, Any]) -> tuple[bool, str]:
    """(dry_run, by) of a request that changes something. Raises Refused."""
    dry_run, by = request.get("dry_run", False), request.get("by", "operator")
    if type(dry_run) is not bool or not isinstance(by, str) or not 0 < len(by) <= 200:
        raise Refused("bad_request", "dry_run is true or false, by is a short text")
    return dry_run, by
