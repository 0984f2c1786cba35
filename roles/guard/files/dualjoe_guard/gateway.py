"""The gateway's unit and its health endpoints, as the guard touches them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from dualjoe import wire
from dualjoe.health import Reading

_CGROUP_ROOTS = ("/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified")


@dataclass(frozen=True)
class Command:
    """What a finished command said. ``code`` is None when it was killed: it ran out of time, or said too much."""

    code: int | None
    output: str

    @property
    def ok(self) -> bool:
        return self.code == 0


async def run(*argv: str, timeout: float, stdin: bytes = b"") -> Command:
    """Run a command without a shell; ``timeout`` in seconds."""
    # systemd hears the guard alone: a systemctl that inherits the socket would report for itself.
    environment = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment,
    )
    if process.stdin:
        process.stdin.write(stdin)
        process.stdin.close()
    try:
        output = await asyncio.wait_for(_said(process), timeout)
    except asyncio.TimeoutError:
        return Command(None, f"{argv[0]} did not end within {timeout:g} s")
    except ValueError as error:
        return Command(None, f"{argv[0]}: {error}")
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()  # with what is left in its pipe: it does not count as ended before
    return Command(process.returncode, output.decode(errors="replace").strip())


async def _said(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None
    output = await _whole(process.stdout)
    await process.wait()
    return output


async def _whole(reader: asyncio.StreamReader) -> bytes:
    """What is read until its end. The other node or Joe may have none: raises ValueError beyond the longest line."""
    try:
        await reader.readexactly(wire.MAX_LINE_BYTES + 1)
    except asyncio.IncompleteReadError as error:
        return error.partial
    raise ValueError(f"more than {wire.MAX_LINE_BYTES} bytes came")


@dataclass(frozen=True)
class UnitState:
    """What systemd says of the unit."""

    loaded: bool
    active: str
    cgroup: str

    @property
    def running(self) -> bool:
        return self.active in ("activating", "active", "reloading")

    @property
    def stopped(self) -> bool:
        return self.active in ("inactive", "failed")


class Gateway:
    """The gateway's unit on this node."""

    def __init__(self, unit: str, url: str, deadline: float) -> None:
        self.unit = unit
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._deadline = deadline
        self._cgroup = ""

    async def state(self) -> UnitState | None:
        """The unit's state; None when systemd does not answer in time."""
        shown = await run("systemctl", "show", "-p", "LoadState,ActiveState,ControlGroup", self.unit, timeout=5)
        if not shown.ok:
            return None
        values = dict(line.split("=", 1) for line in shown.output.splitlines() if "=" in line)
        self._cgroup = values.get("ControlGroup") or self._cgroup
        return UnitState(values.get("LoadState") == "loaded", values.get("ActiveState", ""), self._cgroup)

    async def start(self) -> Command:
        """Start the unit; returns when systemd has executed it, which is long before it is ready."""
        await run("systemctl", "reset-failed", self.unit, timeout=5)
        return await run("systemctl", "start", self.unit, timeout=30)

    async def ask_to_stop(self) -> None:
        """Begin a graceful stop and return at once."""
        await run("systemctl", "stop", "--no-block", self.unit, timeout=5)

    def kill(self) -> list[int]:
        """SIGKILL everything in the unit's cgroup, without asking systemd; the processes that were there."""
        pids = self._processes()
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        return pids

    async def fence(self, graceful_seconds: float) -> bool:
        """Stop for certain: gracefully for so long, then hard. True when nothing of it is left."""
        await self.ask_to_stop()
        clock = asyncio.get_running_loop().time
        hard_at = clock() + graceful_seconds
        give_up_at = hard_at + 5
        while clock() < give_up_at:
            state = await self.state()
            if state is not None and state.stopped and not self._processes():
                return True
            if clock() >= hard_at:
                self.kill()
            await asyncio.sleep(0.1)
        return False

    async def read(self) -> Reading:
        """One look at unit and endpoints."""
        state = await self.state()
        if state is None or not state.running:
            return Reading(False, False, False, f"unit is {state.active}" if state else "systemd does not answer")
        live = await self._get("/healthz")
        if live is None or live[0] != 200:
            return Reading(True, False, False, "/healthz does not answer" if live is None else f"/healthz {live[0]}")
        ready = await self._get("/readyz")
        if ready is not None and ready[0] == 200:
            return Reading(True, True, True)
        return Reading(True, True, False, _failing(ready[1]) if ready else "/readyz does not answer")

    def _processes(self) -> list[int]:
        if not self._cgroup or self._cgroup == "/":
            return []
        found: list[int] = []
        for root in _CGROUP_ROOTS:
            folder = Path(root + self._cgroup)
            if folder.is_dir():
                for members in folder.rglob("cgroup.procs"):
                    found += _numbers(members)
        return sorted(set(found))

    async def _get(self, path: str) -> tuple[int, bytes] | None:
        """(status, body), or None when no whole answer came within the deadline: a stopped process keeps its port."""
        try:
            return await asyncio.wait_for(self._exchange(path), self._deadline)
        except (OSError, asyncio.TimeoutError, ValueError, IndexError):
            return None

    async def _exchange(self, path: str) -> tuple[int, bytes]:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            head = f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\nConnection: close\r\n\r\n"
            writer.write(head.encode())
            status = (await reader.readline()).split()
            rest = await _whole(reader)
            return int(status[1]), rest.partition(b"\r\n\r\n")[2]
        finally:
            writer.close()


def _numbers(path: Path) -> list[int]:
    try:
        return [int(line) for line in path.read_text().split()]
    except (OSError, ValueError):
        return []


def _failing(body: bytes) -> str:
    try:
        failing = json.loads(body[body.find(b"{") : body.rfind(b"}") + 1])["failing"]
        return f"not ready: {', '.join(map(str, failing))}"
    except (ValueError, KeyError, TypeError):
        return "not ready"
