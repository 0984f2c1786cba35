"""The page as HTML: whole for a browser that comes, or those of its sections that have changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from . import view
from .feed import Snapshot

SECTIONS = ("as_of", "state", "alerts", "machines", "graphs", "drills", "timeline")
HERE = Path(__file__).resolve().parent


class Page:
    """``acts``: whether the page offers to pause and to move."""

    def __init__(self, *, acts: bool) -> None:
        self._acts = acts
        environment = Environment(
            loader=FileSystemLoader(HERE),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.globals["draw"] = environment.get_template("macros.html").module  # a lone block sees no import
        self._page = environment.get_template("page.html")
        self._act = environment.get_template("act.html")
        self._drawn: tuple[int, view.View, dict[str, str]] | None = None

    def whole(self, snapshot: Snapshot) -> str:
        """The page of a moment."""
        return self._page.render(view=view.of(snapshot), acts=self._acts)

    def act(self, **fields: Any) -> str:
        """The page that asks before something is done, or says what became of it."""
        return self._act.render(**fields)

    def sections(self, snapshot: Snapshot) -> tuple[str, Mapping[str, str]]:
        """The page's title, and each section by its id; drawn once for all who watch."""
        if self._drawn is None or self._drawn[0] != snapshot.number:
            shown = view.of(snapshot)
            context = self._page.new_context({"view": shown, "acts": self._acts})
            drawn = {name: "".join(self._page.blocks[name](context)).strip() for name in SECTIONS}
            self._drawn = snapshot.number, shown, drawn
        _, shown, drawn = self._drawn
        return f"Joe: {shown.headline}", drawn


def message(number: int, title: str, sections: Mapping[str, str]) -> str:
    """One server-sent event."""
    return f"id: {number}\ndata: {json.dumps({'title': title, 'sections': sections})}\n\n"
