"""``dualjoe-watchdog [--config FILE] [--check-config]``."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from pathlib import Path

from dualjoe import boot, sdnotify

from .coordinator import Coordinator
from .digests import Digests
from .history import History
from .nodes import Node
from .outbox import Outbox
from .server import Server
from .settings import BadSettings, Settings, check_channels, load
from .store import BadStore, Store

log = logging.getLogger("dualjoe-watchdog")


async def serve(settings: Settings, store: Store) -> None:
    """Run until SIGTERM."""
    boot.tell(settings.socket.with_name("boot-id"), boot.this())
    outbox = Outbox(settings.channels, store, settings.pair, settings.rules)
    nodes = {node.name: Node(node, settings.key, settings.known_hosts) for node in settings.nodes}
    coordinator = Coordinator(settings, store, outbox, nodes)
    history = History(settings.state.with_name("history.sqlite"))
    server = await Server(coordinator, history, settings.socket).open()
    loop = asyncio.get_running_loop()
    main = asyncio.current_task()
    assert main is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, main.cancel)
    sdnotify.notify("READY=1")
    log.info("pair=%s epoch=%d holder=%s ready", settings.pair, coordinator.record.epoch, coordinator.record.holder)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(outbox.run())
            group.create_task(Digests(coordinator).run())
            group.create_task(history.keep(coordinator.nodes))
            group.create_task(coordinator.run(lambda: sdnotify.notify("WATCHDOG=1")))
    except asyncio.CancelledError:
        log.info("pair=%s asked to stop; the leases go on until their ends", settings.pair)
    finally:
        sdnotify.notify("STOPPING=1")
        server.close()
        history.close()
        for node in nodes.values():
            node.close()


def main() -> int:
    """Exit codes: 0 stopped when asked, 1 bad settings or an unusable store."""
    parser = argparse.ArgumentParser(prog="dualjoe-watchdog", description="Decides on T440 which node serves.")
    parser.add_argument("--config", type=Path, default=Path("/etc/dualjoe/watchdog.json"), help="default: %(default)s")
    parser.add_argument("--check-config", action="store_true", help="check the settings, change nothing")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stdout)
    logging.getLogger("asyncssh").setLevel(logging.WARNING)  # it names every connection
    try:
        settings = load(arguments.config)
        if arguments.check_config:
            asyncio.run(check_channels(settings))
            return 0
        store = Store(settings.state)
    except (BadSettings, BadStore) as error:
        print(error, file=sys.stderr)
        return 1
    asyncio.run(serve(settings, store))
    return 0


if __name__ == "__main__":
    sys.exit(main())
