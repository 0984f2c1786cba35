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


class Node:
    """One node. Every verb has a deadline; a connection that let one pass is dropped and made anew."""

    def __init__(self, settings: NodeSettings, key: Path, known_hosts: Path) -> None:
        self.name = settings.name
        self._settings = settings
        self._key = key
        self._known_hosts = known_hosts
        self._connection: asyncssh.SSHClientConnection | None = None
        self._connecting = asyncio.Lock()

    async def ask(self, message: dict[str, Any], timeout: float) -> dict[str, Any]:
        """Send one request line, return the reply line. ``timeout`` in seconds bounds all of it. Raises Unreachable."""
        connection: asyncssh.SSHClientConnection | None = None
        try:
            async with asyncio.timeout(timeout):
                connection = await self._connected()
                # The node runs the key's forced command whatever is asked for here.
                done = await connection.run("dualjoe-ask", input=wire.encode(message), encoding=None, check=False)
            output = done.stdout
            return wire.decode(output if isinstance(output, bytes) else b"")
        except (OSError, TimeoutError, asyncssh.Error, wire.WireError) as error:
            self._drop(connection)
            raise Unreachable(f"{self.name}: {str(error) or type(error).__name__}") from error

    async def _connected(self) -> asyncssh.SSHClientConnection:
        async with self._connecting:
            if self._connection is None or self._connection.is_closed():
                self._connection = await asyncssh.connect(
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
            return self._connection

    def _drop(self, connection: asyncssh.SSHClientConnection | None) -> None:
        """Forget a connection that failed, unless a newer one has taken its place."""
        if connection is not None:
            connection.abort()
            if self._connection is connection:
                self._connection = None

    def close(self) -> None:
        self._drop(self._connection)
