"""What is answered to whom asks for what."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from dualjoe import metrics
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from .acts import Acts
from .feed import MAX_WATCHERS, Feed
from .gate import Gate
from .page import HERE, Page, message
from .settings import Settings

_KINDS = {"page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}


def application(settings: Settings, feed: Feed, alive: Callable[[], None] = lambda: None) -> Starlette:
    """The web page over a ``feed``, which looks for as long as the application runs; ``alive``: see there."""
    page = Page(acts=settings.action_token_sha256 is not None)
    routes = [*Site(feed, page).routes(), *Acts(settings, feed, page).routes()]

    @asynccontextmanager
    async def looking(_app: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(feed.run(alive))
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    return Starlette(routes=routes, middleware=[Middleware(Gate, settings=settings)], lifespan=looking)


class Site:
    """The answers to those who look."""

    def __init__(self, feed: Feed, page: Page) -> None:
        self._feed = feed
        self._page = page
        self._files = {name: (HERE / name).read_bytes() for name in _KINDS}

    def routes(self) -> list[Route]:
        return [
            Route("/", self.index),
            Route("/events", self.events),
            Route("/static/{name}", self.static),
            Route("/api/v1/status", self.status),
            Route("/metrics", self.metrics),
            Route("/healthz", self.healthz),
        ]

    async def index(self, _request: Request) -> Response:
        return HTMLResponse(self._page.whole(self._feed.latest))

    async def static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._files:
            return PlainTextResponse("There is no such file.\n", 404)
        return Response(self._files[name], media_type=_KINDS[name], headers={"Cache-Control": "no-cache"})

    async def events(self, request: Request) -> Response:
        """The sections, as they change."""
        if self._feed.full:
            return PlainTextResponse(f"{MAX_WATCHERS} people watch already.\n", 503, {"Retry-After": "30"})
        known = request.headers.get("last-event-id") or request.query_params.get("seen")
        return StreamingResponse(self._news(known), media_type="text/event-stream")

    async def _news(self, known: str | None) -> AsyncIterator[str]:
        """At first all sections, unless the browser has those of the newest look: its number is ``known``."""
        latest = self._feed.latest
        sent = dict(self._page.sections(latest)[1]) if known == str(latest.number) else {}
        with self._feed.watching():
            while True:
                latest = self._feed.latest
                title, drawn = self._page.sections(latest)
                yield message(
                    latest.number, title, {name: html for name, html in drawn.items() if sent.get(name) != html}
                )
                sent = dict(drawn)
                await self._feed.next()

    async def status(self, _request: Request) -> Response:
        latest = self._feed.latest
        if latest.status is None:
            return JSONResponse({"ok": False, "message": latest.problem}, 503)
        return JSONResponse(_in_json(latest.status))

    async def metrics(self, _request: Request) -> Response:
        return Response(metrics.of_pair(self._feed.latest.status), media_type=metrics.CONTENT_TYPE)

    async def healthz(self, _request: Request) -> Response:
        if self._feed.latest.status is None:
            return PlainTextResponse("the watchdog does not answer\n", 503)
        return PlainTextResponse("ok\n")


def _in_json(status: Mapping[str, Any]) -> Any:
    """The same with null for each figure that JSON does not know; a node may have told any."""
    return json.loads(json.dumps(status), parse_constant=lambda _name: None)
