"""The command `dualjoe` on T440. Standard library only: it also works when the watchdog's environment does not."""

from __future__ import annotations

import argparse
import getpass
import json
import re
import sys
from collections.abc import Sequence
from typing import Any

from dualjoe import control, summary, wire

DONE, NOT_DONE, BAD_USAGE = 0, 1, 2
_SWITCH_SECONDS = 900.0  # the watchdog itself gives up sooner, and says why
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done, 1 not done (stderr says why), 2 bad usage."""
    arguments = _parser().parse_args(argv)
    try:
        reply, events = _ask(arguments)
    except control.ControlError as error:
        print(f"dualjoe: {error}", file=sys.stderr)
        return NOT_DONE
    good = reply.get("ok") is True
    if arguments.json:
        print(json.dumps({**reply, "events": events}, indent=2, sort_keys=True))
    elif good:
        _show(arguments.command, reply)
    else:
        print(f"dualjoe: {reply.get('message')}", file=sys.stderr)
    return DONE if good else NOT_DONE


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", action="store_true", help="print one JSON object")
    parser = argparse.ArgumentParser(
        prog="dualjoe",
        description="Look at the pair and move Joe.",
        epilog="Exit codes: 0 done, 1 not done, 2 bad usage.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("status", parents=[shared], help="the pair at a glance")
    timeline = commands.add_parser("timeline", parents=[shared], help="what happened, and why")
    timeline.add_argument("--limit", type=int, default=50, help="the newest so many events (default: %(default)s)")
    switch = commands.add_parser("switchover", parents=[shared], help="a planned move, to the other node by default")
    switch.add_argument("--to", metavar="NODE", help="a node's name, 'primary' or 'standby'")
    back = commands.add_parser("failback", parents=[shared], help="move home to the primary")
    pause = commands.add_parser("pause", parents=[shared], help="for maintenance: Joe stays, and nobody takes over")
    pause.add_argument(
        "--for",
        dest="seconds",
        type=_duration,
        default=3600,
        metavar="TIME",
        help="as in 90s, 30m, 2h, 1d (default: 1h); then the pause ends by itself",
    )
    pause.add_argument("--reason", default="", help="for those who are told of it")
    resume = commands.add_parser("resume", parents=[shared], help="end a pause")
    off = commands.add_parser(
        "declare-off", parents=[shared], help="your word that a silent node has no power: nobody waits for its lease"
    )
    off.add_argument("node", metavar="NODE")
    for command in (switch, back, pause, resume, off):
        command.add_argument("--dry-run", action="store_true", help="say what would be done, change nothing")
    commands.add_parser("alert-test", parents=[shared], help="send a test alert and wait until it is taken")
    return parser


def _duration(text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,7})([smhd]?)", text)
    seconds = 0 if match is None else int(match[1]) * _UNITS[match[2]]
    if not 1 <= seconds <= wire.MAX_PAUSE_SECONDS:
        longest = wire.MAX_PAUSE_SECONDS / 86400
        message = f"must be a length of time such as 90s, 30m, 2h or 1d, of at most {longest:g} days"
        raise argparse.ArgumentTypeError(message)
    return seconds


def _ask(arguments: argparse.Namespace) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The final reply, and the events that came before it; on a terminal they are shown as they come."""
    events: list[dict[str, Any]] = []

    def heard(event: dict[str, Any]) -> None:
        events.append(event)
        if not arguments.json:
            print(summary.of_event(event), flush=True)

    if arguments.command == "timeline":
        return control.ask("timeline", limit=arguments.limit, on_event=heard), events
    if arguments.command in ("switchover", "failback"):
        to = "primary" if arguments.command == "failback" else arguments.to
        reply = control.ask(
            "switch",
            to=to,
            dry_run=arguments.dry_run,
            by=getpass.getuser(),
            timeout=_SWITCH_SECONDS,
            on_event=heard,
        )
        return reply, events
    if arguments.command in ("pause", "resume", "declare-off"):
        given = {name: getattr(arguments, name) for name in ("seconds", "reason", "node") if hasattr(arguments, name)}
        asked = {"by": getpass.getuser(), "dry_run": arguments.dry_run, "timeout": 90, "on_event": heard}
        return control.ask(arguments.command, **asked, **given), events
    return control.ask(arguments.command, timeout=60), events


def _show(command: str, reply: dict[str, Any]) -> None:
    if command == "status":
        print("\n".join(summary.of_pair(reply)))
    elif command == "alert-test":
        print("Telegram has taken the test alert.")
    elif command != "timeline":  # its events were shown as they came
        print(reply["message"])
