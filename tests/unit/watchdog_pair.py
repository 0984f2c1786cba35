"""Two guards behind real SSH servers and a Bot API behind real HTTP, for the tests of the watchdog.

The guards keep the shipped rules of leases; only the gateway behind them is missing.
"""

from __future__ import annotations

import asyncio
import http.server
import json
import threading
import time
import uuid
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncssh
from dualjoe import lease, wire
from dualjoe_guard.daemon import SLOW_VERBS
from dualjoe_watchdog.coordinator import Coordinator
from dualjoe_watchdog.history import History
from dualjoe_watchdog.nodes import Node
from dualjoe_watchdog.outbox import Outbox
from dualjoe_watchdog.server import Server
from dualjoe_watchdog.settings import AlertSettings, NodeSettings, Settings, TelegramSettings, TimingSettings
from dualjoe_watchdog.store import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

TOKEN = "4242:not-a-token-of-anyone-anywhere-0000"
TIMING = TimingSettings(heartbeat=0.2, full_check=0.4, ttl=1.2, margin=0.2, retry=0.1, verb_timeout=1, stop=0.2)


class LeaseKeeper:
    """A node's guard as far as the wire shows it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.state = lease.NodeState(str(uuid.uuid4()), 0, 0)
        self.asked: list[str] = []
        self.heard: list[str] = []  # probes as well
        self.carry: Callable[[dict[str, Any]], Any] = lambda probe: probe  # what a slow verb's answer tells of the node
        self.refuse: dict[str, wire.Refused] = {}
        self.slow: dict[str, float] = {}  # verb -> seconds until it is answered
        self.prints_on = False  # answers without end, and no line of it
        self.printed = 0  # bytes of that
        self.terms: list[list[float]] = []  # [from, to] of each lease, on the one clock that all share here
        self.more: dict[str, Any] = {"fit": True, "unfit": [], "jobs": {}}

    def answer(self, raw: dict[str, Any]) -> dict[str, Any]:
        try:
            request = wire.parse_request(raw, "witness")
            self.heard.append(request.verb)
            if request.verb != "probe":
                self.asked.append(request.verb)
            if request.verb in self.refuse:
                raise self.refuse[request.verb]
            now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            if self.state.lease and now >= self.state.lease.deadline:
                self.state = replace(self.state, lease=None)
            reply = getattr(self, request.verb)(request, now)
            if request.verb in SLOW_VERBS:
                reply["probe"] = self.carry(wire.ok(**self.probe(request, now)))
            return wire.ok(**reply)
        except wire.Refused as refusal:
            return refusal.reply()

    @property
    def active(self) -> bool:
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        return self.state.lease is not None and now < self.state.lease.deadline

    def probe(self, _request: wire.Request, now: int) -> dict[str, Any]:
        gateway = {"state": "ready" if self.active else "stopped", "full_check": "ok", "full_checks": 1}
        return {
            "node": self.name,
            "boot_id": self.state.boot_id,
            "stamp": str(lease.stamp(self.state, now)),
            "epoch": self.state.epoch,
            "term": self.state.term,
            "role": "active" if self.active else "passive",
            "promise_left": lease.promise_left(self.state, now),
            "paused_left": lease.paused_left(self.state, now),
            "gateway": gateway,
            **self.more,
        }

    def renew(self, request: wire.Request, now: int) -> dict[str, Any]:
        self.state = lease.renew(self.state, request, now)
        return self._held()

    def grant(self, request: wire.Request, now: int) -> dict[str, Any]:
        self.state = lease.grant(self.state, request, now, 0)
        self.terms.append([now, now])
        return self._held()

    def revoke(self, request: wire.Request, now: int) -> dict[str, Any]:
        self.state = lease.revoke(self.state, request)
        if self.terms:
            self.terms[-1][1] = now
        return {"stopped": True}

    def pause(self, request: wire.Request, now: int) -> dict[str, Any]:
        self.state = lease.pause(self.state, request, now, TIMING.ttl, TIMING.margin)
        return self._held() if self.active else {}

    def resume(self, request: wire.Request, now: int) -> dict[str, Any]:
        self.state = lease.resume(self.state, request, now, TIMING.ttl)
        return self._held() if self.active else {}

    def sync(self, _request: wire.Request, _now: int) -> dict[str, Any]:
        return {"result": "ok"}

    def _held(self) -> dict[str, Any]:
        assert self.state.lease is not None
        self.terms[-1][1] = self.state.lease.deadline
        return {"epoch": self.state.epoch}


class BotApi:
    """A Bot API over HTTP that keeps what it was sent; ``broken`` makes it fail."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.paths: list[str] = []
        self.broken = False
        api = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                api.paths.append(self.path)
                if not api.broken:
                    api.texts.append(body["text"])
                answer = json.dumps({"ok": not api.broken}).encode()
                self.send_response(500 if api.broken else 200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_arguments: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Pair:
    """Both nodes, the watchdog, and what a test does to them."""

    def __init__(self, folder: Path, bot: BotApi) -> None:
        self.folder = folder
        self.bot = bot
        self.guards = {name: LeaseKeeper(name) for name in ("pc-a", "pc-b")}
        self.ports: dict[str, int] = {}
        self._servers: dict[str, asyncssh.SSHAcceptor] = {}
        self._open: dict[str, set[asyncssh.SSHServerConnection]] = {"pc-a": set(), "pc-b": set()}
        self._host_key = asyncssh.generate_private_key("ssh-ed25519")
        key = asyncssh.generate_private_key("ssh-ed25519")
        key.write_private_key(str(folder / "key"))
        key.write_public_key(str(folder / "key.pub"))
        (folder / "token").write_text(TOKEN + "\n")

    async def switch_on(self, name: str) -> None:
        """Let a node answer; for one that was off, this is a boot."""
        guard = self.guards[name]
        guard.state = replace(guard.state, boot_id=str(uuid.uuid4()), lease=None)
        opened = self._open[name]

        async def process(channel: asyncssh.SSHServerProcess[bytes]) -> None:
            line = await channel.stdin.readline()
            while guard.prints_on:
                channel.stdout.write(bytes(1 << 15))
                await channel.stdout.drain()
                guard.printed += 1 << 15
                await asyncio.sleep(0)
            await asyncio.sleep(guard.slow.get(wire.decode(line)["verb"], 0))
            channel.stdout.write(wire.encode(guard.answer(wire.decode(line))))
            channel.exit(0)

        class Door(asyncssh.SSHServer):
            def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
                opened.add(conn)

        self._servers[name] = await asyncssh.create_server(
            Door,
            "127.0.0.1",
            self.ports.get(name, 0),
            server_host_keys=[self._host_key],
            authorized_client_keys=str(self.folder / "key.pub"),
            process_factory=process,
            encoding=None,
        )
        self.ports[name] = self._servers[name].get_port()
        public = self._host_key.export_public_key().decode().strip()
        lines = [f"[127.0.0.1]:{port} {public}\n" for port in self.ports.values()]
        (self.folder / "known_hosts").write_text("".join(lines))

    async def switch_off(self, name: str) -> None:
        """Pull a node's plug: no answer, and no lease survives."""
        self._servers[name].close()
        for connection in self._open[name]:
            connection.abort()
        self._open[name].clear()
        await self._servers[name].wait_closed()

    def settings(self, **more: Any) -> Settings:
        nodes = {name: NodeSettings(name=name, address="127.0.0.1", port=port) for name, port in self.ports.items()}
        return Settings(
            pair="joe",
            primary=nodes["pc-a"],
            standby=nodes["pc-b"],
            telegram=TelegramSettings(api_base=self.bot.url, token_file=self.folder / "token", chat_id="1"),
            key=self.folder / "key",
            known_hosts=self.folder / "known_hosts",
            state=self.folder / "witness.sqlite",
            socket=self.folder / "watchdog.sock",
            alerts=AlertSettings(group_seconds=0.05, per_minute=60),
            **{"timing": TIMING, "holddown": 0.5, "absent_wait": 1, "grant_timeout": 5, "sync_timeout": 5, **more},
        )

    @asynccontextmanager
    async def watched(self, **more: Any) -> AsyncIterator[Coordinator]:
        """A watchdog over the pair, with its control socket."""
        settings = self.settings(**more)
        store = Store(settings.state)
        outbox = Outbox(settings.channels, store, settings.pair, settings.rules)
        nodes = {node.name: Node(node, settings.key, settings.known_hosts) for node in settings.nodes}
        coordinator = Coordinator(settings, store, outbox, nodes)
        history = History(settings.state.with_name("history.sqlite"))
        server = await Server(coordinator, history, settings.socket).open()
        tasks = [asyncio.create_task(outbox.run()), asyncio.create_task(coordinator.run(lambda: None))]
        tasks.append(asyncio.create_task(history.keep(coordinator.nodes)))
        try:
            yield coordinator
        finally:
            server.close()
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            for node in nodes.values():
                node.close()
            history.close()
            store.close()

    async def close(self) -> None:
        for name in self._servers:
            await self.switch_off(name)

    def two_at_once(self) -> bool:
        """Whether any leases of the two nodes ever ran at the same time."""
        mine, other = self.guards["pc-a"].terms, self.guards["pc-b"].terms
        return any(a[0] < b[1] and b[0] < a[1] for a in mine for b in other)


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)
