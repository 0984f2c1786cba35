"""What every request passes before anything answers it: the host it names, who asks, and the headers of each answer."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Mapping, MutableMapping
from typing import Any

import bcrypt
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .settings import Settings

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
OPEN = frozenset({"/healthz"})  # asked without a password; it tells one word
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_KNOWN_AT_MOST = 100
_NOBODY = bcrypt.hashpw(os.urandom(16), bcrypt.gensalt(10))  # so that an unknown name takes as long as a wrong password


class Gate:
    """Wraps the application. Who asked stands in ``scope["user"]``; '' where there are no users."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        # A foreign page can give its own name the address 127.0.0.1, and read what is served to this machine alone.
        self._hosts = _LOOPBACK if settings.on_loopback and not settings.behind_proxy else None
        self._users = {name: hash_.encode() for name, hash_ in settings.users.items()}
        self._checking = asyncio.Lock()  # a password costs a tenth of a second: one after the other
        self._known: dict[bytes, str] = {}
        self._secret = os.urandom(32)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = await self._refusal(scope)
        await (refusal or self._app)(scope, receive, send_with_headers)

    async def _refusal(self, scope: MutableMapping[str, Any]) -> PlainTextResponse | None:
        headers = Headers(scope=scope)
        if self._hosts is not None and _host(headers) not in self._hosts:
            return PlainTextResponse("Ask for localhost: this page is served to T440 alone.\n", 421)
        scope["user"] = await self._user(headers)
        if self._users and not scope["user"] and scope["path"] not in OPEN:
            challenge = {"WWW-Authenticate": 'Basic realm="Dual-Joe", charset="UTF-8"'}
            return PlainTextResponse("Name and password, please.\n", 401, challenge)
        return None

    async def _user(self, headers: Mapping[str, str]) -> str:
        """The name whose password came; '' for none."""
        kind, _, told = headers.get("authorization", "").partition(" ")
        if kind.lower() != "basic" or not self._users:
            return ""
        digest = hmac.digest(self._secret, told.encode(), hashlib.sha256)
        if digest in self._known:
            return self._known[digest]
        try:
            name, _, password = base64.b64decode(told, validate=True).decode("utf-8").partition(":")
        except (binascii.Error, ValueError):
            return ""
        async with self._checking:
            good = await asyncio.to_thread(_matches, password, self._users.get(name, _NOBODY))
        if not good or name not in self._users:
            return ""
        if len(self._known) < _KNOWN_AT_MOST:
            self._known[digest] = name
        return name


def _matches(password: str, hashed: bytes) -> bool:
    try:
        return bcrypt.checkpw(password.encode(), hashed)
    except ValueError:  # longer than bcrypt takes
        return False


def _host(headers: Mapping[str, str]) -> str:
    """The host that was asked for, without its port."""
    host = headers.get("host", "").lower()
    return host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]
