"""Where alerts go."""

from __future__ import annotations

import asyncio
from typing import Protocol

from dualjoe import telegram


class Channel(Protocol):
    """One way to people. ``name``: its own, in logs, alerts and the store; it holds no secret."""

    @property
    def name(self) -> str: ...

    async def send(self, text: str) -> None:
        """Send one message. Raises ``dualjoe.telegram.NotSent``."""


class Telegram:
    """A bot's chat."""

    name = "telegram"

    def __init__(self, chat: telegram.Chat) -> None:
        self._chat = chat

    async def send(self, text: str) -> None:
        await asyncio.to_thread(telegram.send, self._chat, text)
