"""``dualjoe-guard [--config FILE] [--check-config]``."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from dualjoe import boot

from .daemon import Guard
from .gateway import Gateway
from .handover import take
from .settings import BadSettings, load


def main() -> int:
    """Exit codes: 0 stopped when asked, 1 bad settings."""
    parser = argparse.ArgumentParser(prog="dualjoe-guard", description="Owns the gateway's unit on this node.")
    parser.add_argument("--config", type=Path, default=Path("/etc/dualjoe/node.json"), help="settings (%(default)s)")
    parser.add_argument("--check-config", action="store_true", help="check the settings, change nothing")
    arguments = parser.parse_args()
    try:
        settings = load(arguments.config)
    except BadSettings as error:
        print(error, file=sys.stderr)
        return 1
    if arguments.check_config:
        return 0
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stdout)
    boot_id = boot.this()
    boot.tell(settings.socket.with_name("boot-id"), boot_id)
    gateway = Gateway(settings.unit, settings.url, settings.health_deadline_seconds)
    asyncio.run(Guard(settings, gateway, boot_id, handover=take()).serve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
