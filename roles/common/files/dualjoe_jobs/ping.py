"""A dead man's switch outside the three machines: a URL that hears of each run's end, and alarms when it hears nothing.

The URLs are secrets: whoever knows one can speak for the job.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

URLS = Path("/etc/dualjoe/pings.json")
_SECONDS = 10.0


def tell(name: str, done: bool, urls: Path | None = None) -> None:
    """Ask for the job's URL, where it has one, or for URL/fail where it was not ``done``: before its query, if it has
    one.

    It takes ten seconds at most, and whatever comes of it changes nothing for the job. What went wrong is said without
    the URL.
    """
    try:
        url = json.loads((urls or URLS).read_text("utf-8")).get(name)
        if url is None:
            return
    except FileNotFoundError:  # none is wanted
        return
    except (OSError, ValueError, AttributeError) as error:
        _complain(name, error)
        return
    # Its own limit is for each step, and finding the address has none.
    asking = threading.Thread(target=_ask, args=(name, str(url), done), daemon=True)
    asking.start()
    asking.join(_SECONDS)
    if asking.is_alive():
        _complain(name, TimeoutError())


def _open(url: str) -> None:
    """Ask for it. Not by the usual opener, which reads files as well."""
    from urllib import request  # noqa: PLC0415 few jobs have a URL, and each would take longer to start

    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler,
        request.HTTPHandler,
        request.HTTPSHandler,
        request.HTTPRedirectHandler,
        request.HTTPDefaultErrorHandler,
        request.HTTPErrorProcessor,
        request.UnknownHandler,
    ):
        opener.add_handler(handler())
    with opener.open(url, timeout=_SECONDS):
        pass


def _ask(name: str, url: str, done: bool) -> None:
    try:
        if not done:
            parts = urlsplit(url)
            url = parts._replace(path=f"{parts.path.rstrip('/')}/fail").geturl()
        _open(url)
    except Exception as error:  # noqa: BLE001 nothing may come of it, whatever a server answers
        _complain(name, error)


def _complain(name: str, error: Exception) -> None:
    """Not in the error's own words, which may hold the URL."""
    reason = getattr(error, "reason", error)
    why = getattr(error, "code", None) or type(reason if isinstance(reason, Exception) else error).__name__
    print(f"dualjoe {name}: its ping URL did not hear of this run: {why}", file=sys.stderr)
