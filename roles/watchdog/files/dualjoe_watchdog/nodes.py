"""Verbs to a node's guard over one persistent SSH connection."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import asyncssh
from dualjoe import wire

from .settings import NodeSettings


class Unreachable(Exception):
    """The node did not answer a verb in time. Whether the verb took effect is not known."""


class _Line:
    """A connection, and how many verbs are under way on it. A retired one is closed with the last of them: a probe that
    is late must not end the grant or the sync beside it."""

    def __init__(self, connection: asyncssh.SSHClientConnection) -> None:
        self.connection = connection
        self._verbs = 0
        self._retired = False

    def begin(self) -> None:
        self._verbs += 1

    def end(self) -> None:
        self._verbs -= 1
        self._close_if_done()

    def retire(self) -> None:
        self._retired = True
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self._retired and self._verbs == 0:
            self.connection.abort()


class Node:
    """One node. Every verb has a deadline; after a connection that let one pass, the next verb has a new one."""

    def __init__(self, settings: NodeSettings, key: Path, known_hosts: Path) -> None:
        self.name = settings.name
        self._settings = settings
        self._key = key
        self._known_hosts = known_hosts
        self._line: _Line | None = None
        self._connecting = asyncio.Lock()

    async def ask(self, message: dict[str, Any], timeout: float) -> dict[str, Any]:
        """Send one request line, return the reply line. ``timeout`` in seconds bounds all of it. Raises Unreachable."""
        line: _Line | None = None
        try:
            async with asyncio.timeout(timeout):
                line = await self._connected()
                return await self._ask(line, message)
        except (OSError, TimeoutError, asyncssh.Error, wire.WireError) as error:
            self._drop(line)
            raise Unreachable(f"{self.name}: {str(error) or type(error).__name__}") from error

    async def _ask(self, line: _Line, message: dict[str, Any]) -> dict[str, Any]:
        line.begin()
        try:
            # The node runs the key's forced command whatever is asked for here. It may print without end: by the window
            # no more is taken than the longest line, and what is no line then is a reply cut off or too long.
            process = await line.connection.create_process(
                "dualjoe-ask", encoding=None, stderr=asyncssh.DEVNULL, window=wire.MAX_LINE_BYTES + 1
            )
            process.stdin.write(wire.encode(message))
            process.stdin.write_eof()
            reply = wire.decode(await process.stdout.readline())
            await process.wait_closed()
            return reply
        finally:
            line.end()

    async def _connected(self) -> _Line:
        async with self._connecting:
            if self._line is None or self._line.connection.is_closed():
                connection = await asyncssh.connect(
                    self._settings.address,
                    self._settings.port,
                    username=self._settings.user,
                    client_keys=[str(self._key)],
                    known_hosts=str(self._known_hosts),
                    agent_path=None,
                    config=[],
                    preferred_auth="publickey",
                    keepalive_interval=5,
                    keepalive_count_max=2,
                )
                self._line = _Line(connection)
            return self._line

    def _drop(self, line: _Line | None) -> None:
        """Forget a connection that failed, unless a newer one has taken its place."""
        if line is not None:
            line.retire()
            if self._line is line:
                self._line = None

    def close(self) -> None:
        self._drop(self._line)
