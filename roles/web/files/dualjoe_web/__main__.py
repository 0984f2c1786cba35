"""``dualjoe-web [--config FILE] [--check-config]``."""

from __future__ import annotations

import argparse
import logging
import os
import socket
import sys
from functools import partial
from pathlib import Path

import uvicorn
from dualjoe import control, sdnotify

from .app import application
from .feed import Feed
from .settings import BadSettings, Settings, load

MAX_CONNECTIONS = 100


class Server(uvicorn.Server):
    """Tells systemd when it takes requests."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            sdnotify.notify("READY=1")


def server(settings: Settings) -> Server:
    """The page, ready to be served."""
    feed = Feed(partial(control.ask, path=settings.socket))
    config = uvicorn.Config(
        application(settings, feed, lambda: sdnotify.notify("WATCHDOG=1")),
        host=settings.address,
        port=settings.port,
        ssl_certfile=settings.certificate,
        ssl_keyfile=settings.key,
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=1,
    )
    return Server(config)


def main() -> int:
    """Exit codes: 0 stopped when asked, 1 bad settings, or the address cannot be served."""
    parser = argparse.ArgumentParser(prog="dualjoe-web", description="The web page on T440.")
    default = Path(os.environ.get("RUNTIME_DIRECTORY", "/etc/dualjoe"), "web.json")
    parser.add_argument("--config", type=Path, default=default, help="default: %(default)s")
    parser.add_argument("--check-config", action="store_true", help="check the settings, serve nothing")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stdout)
    try:
        settings = load(arguments.config)
    except BadSettings as error:
        print(error, file=sys.stderr)
        return 1
    if arguments.check_config:
        return 0
    serving = server(settings)
    serving.run()
    return 0 if serving.started else 1


if __name__ == "__main__":
    sys.exit(main())
