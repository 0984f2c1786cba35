"""What changes something: pause, resume and move, each shown first, and done only with the token."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from dualjoe import control
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from .feed import Feed
from .page import Page
from .settings import Settings

log = logging.getLogger("dualjoe-web")

PAUSES = {"1800": "30 minutes", "3600": "1 hour", "7200": "2 hours", "28800": "8 hours", "86400": "1 day"}
_BODY_BYTES = 4096
_WRONG_SECONDS = 1.0  # at most one wrong token a second, from all together
_SHOWN_SECONDS = 3.0  # then the page is shown, and tells how it goes on
_DONE_SECONDS = 900.0  # the watchdog itself gives up sooner


@dataclass(frozen=True)
class Act:
    """``command``: what the watchdog is asked; ``fields``: what the form has besides the token."""

    command: str
    title: str
    button: str
    fields: tuple[str, ...] = ()


ACTS = {
    "pause": Act("pause", "Pause: Joe stays where he is, and nobody takes over", "Pause", ("seconds", "reason")),
    "resume": Act("resume", "End a pause: Joe is watched again", "End the pause"),
    "switchover": Act("switch", "Move Joe", "Move Joe", ("to",)),
}


class Acts:
    """The answers to those who want something done. Without a token there are none."""

    def __init__(self, settings: Settings, feed: Feed, page: Page) -> None:
        self._token = settings.action_token_sha256
        self._feed = feed
        self._page = page
        self._looking = asyncio.Lock()
        self._under_way: asyncio.Task[str] | None = None

    def routes(self) -> list[Route]:
        if self._token is None:
            return []
        return [Route("/act/{name}", self.ask), Route("/act/{name}", self.do, methods=["POST"])]

    async def ask(self, request: Request) -> Response:
        """The form, with what would be done."""
        name = request.path_params["name"]
        return self._form(name) if name in ACTS else PlainTextResponse("There is no such page.\n", 404)

    async def do(self, request: Request) -> Response:
        """Do it if the token is right."""
        name, by = request.path_params["name"], request.scope.get("user")
        if name not in ACTS:
            return PlainTextResponse("There is no such page.\n", 404)
        if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return PlainTextResponse("Another site sent this; nothing was done.\n", 403)
        form = await _form_of(request)
        if form is None:
            return PlainTextResponse("This is no form of this page; nothing was done.\n", 400)
        if form.get("sure") != "yes":
            return self._form(name, form, "Nothing was done: tick that you are sure.", 400)
        if not await self._right(form.get("token", "")):
            log.warning("%s was asked for with a wrong token, from %s", name, request.client and request.client.host)
            return self._form(name, form, "Nothing was done: the token is not right.", 403)
        if self._under_way is not None and not self._under_way.done():
            return self._form(name, form, "Nothing was done: what was asked before is still under way.", 409)
        fields = _fields_of(ACTS[name], form)
        if fields is None:
            return self._form(name, form, "Nothing was done: that is no choice of this form.", 400)
        self._under_way = asyncio.create_task(self._done(name, f"web ({by})" if by else "web", fields))
        await asyncio.wait({self._under_way}, timeout=_SHOWN_SECONDS)
        if self._under_way.done() and (problem := self._under_way.result()):
            return self._form(name, form, problem, 409)
        return RedirectResponse("../#timeline", 303)

    async def _done(self, name: str, by: str, fields: Mapping[str, Any]) -> str:
        """Why it was not done; '' where it was."""
        log.info("%s asks for %s %s", by, name, dict(fields))
        try:
            await self._feed.asked(ACTS[name].command, timeout=_DONE_SECONDS, by=by, **fields)
        except control.ControlError as error:
            log.warning("%s came to nothing: %s", name, error)
            return f"It came to nothing: {error}"
        return ""

    async def _right(self, token: str) -> bool:
        assert self._token is not None
        async with self._looking:
            if hmac.compare_digest(hashlib.sha256(token.encode()).hexdigest(), self._token):
                return True
            await asyncio.sleep(_WRONG_SECONDS)
            return False

    def _form(self, name: str, form: Mapping[str, str] | None = None, problem: str = "", code: int = 200) -> Response:
        status = self._feed.latest.status or {}
        nodes = {node: str(told.get("home")) for node, told in sorted(status.get("nodes", {}).items())}
        other = next((node for node in nodes if node != status.get("holder")), "")
        given = {"seconds": "3600", "reason": "", "to": other, **(form or {})}
        page = self._page.act(name=name, act=ACTS[name], problem=problem, given=given, nodes=nodes, pauses=PAUSES)
        return HTMLResponse(page, code)


async def _form_of(request: Request) -> dict[str, str] | None:
    """The fields of a form; None for what is none."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        return None
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _BODY_BYTES:
            return None
    try:
        return dict(parse_qsl(body.decode("utf-8"), max_num_fields=10, errors="strict"))
    except ValueError:
        return None


def _fields_of(act: Act, form: Mapping[str, str]) -> dict[str, Any] | None:
    """What the watchdog is told; None where the form holds what it does not offer. The watchdog checks the rest."""
    fields: dict[str, Any] = {name: form[name].strip() for name in act.fields if form.get(name, "").strip()}
    if "seconds" in act.fields:
        if fields.get("seconds") not in PAUSES:
            return None
        fields["seconds"] = int(fields["seconds"])
    return fields
