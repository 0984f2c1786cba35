"""Where alerts go: a Telegram chat, and whatever Apprise knows."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from pathlib import Path
from typing import Protocol

from dualjoe import telegram
from dualjoe.telegram import NotSent

from . import apprise_send

APPRISE_SECONDS = 60.0  # a message must be sent by then


class Channel(Protocol):
    """One way to people. ``name``: for them, in logs and alerts; ``key``: in the store. Neither holds a secret."""

    @property
    def name(self) -> str: ...

    @property
    def key(self) -> str: ...

    async def send(self, text: str) -> None:
        """Send one message. Raises ``dualjoe.telegram.NotSent``."""


class Telegram:
    """A bot's chat."""

    name = key = "telegram"

    def __init__(self, chat: telegram.Chat) -> None:
        self._chat = chat

    async def send(self, text: str) -> None:
        await asyncio.to_thread(telegram.send, self._chat, text)


class Apprise:
    """A service by its Apprise URL, which is a secret; ``place``: its place in the list of them, from 1."""

    def __init__(self, url: str, place: int) -> None:
        schema = url.partition("://")[0]
        self.name = f"apprise {place} ({schema})"
        # Known again where the list has changed. So little of the sum tells nothing of what it is a sum of.
        self.key = f"{schema}-{hashlib.sha256(url.encode()).hexdigest()[:4]}"
        self._url = url

    async def send(self, text: str) -> None:
        await self._run(text)

    async def check(self) -> str:
        """Why nothing can be sent there; '' where that cannot be known before."""
        try:
            await self._run(None)
        except NotSent as refusal:
            return str(refusal)
        return ""

    async def _run(self, text: str | None) -> None:
        command = (sys.executable, "-I", str(Path(apprise_send.__file__)))
        nowhere = asyncio.subprocess.DEVNULL
        try:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.PIPE, stdout=nowhere, stderr=nowhere
            )
        except OSError as error:
            raise NotSent(f"Apprise cannot be run: {error.strerror}") from None
        try:
            async with asyncio.timeout(APPRISE_SECONDS):
                await process.communicate(json.dumps({"url": self._url, "text": text}).encode())
        except TimeoutError:
            raise NotSent(f"it did not end within {APPRISE_SECONDS:g} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()  # also when the watchdog ends: nothing of it is left behind
        if process.returncode == apprise_send.UNKNOWN:
            raise NotSent("Apprise knows no such service, or something is missing in the URL")
        if process.returncode != apprise_send.TAKEN:
            raise NotSent("the service did not take it")
