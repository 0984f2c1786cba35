"""The command `dualjoe` on T440. All it knows it has from the watchdog, by the control socket."""

from __future__ import annotations

import getpass
import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem
from dualjoe import control, overview, summary, wire
from dualjoe import doctor as rules
from dualjoe.names import shown
from rich.console import Console
from rich.live import Live

from . import screen

DONE, NOT_DONE, BAD_USAGE = 0, 1, 2
FOLLOW_SECONDS = 1.0
_SWITCH_SECONDS = 900.0  # the watchdog itself gives up sooner, and says why
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_MOST_EVENTS = 1000

Event = Mapping[str, Any]
_Command = TypeVar("_Command", bound=Callable[..., Any])


class NotDone(click.ClickException):
    """What was asked for was not done; the message says why, and what to look at."""

    exit_code = NOT_DONE

    def show(self, file: Any = None) -> None:
        click.echo(f"dualjoe: {shown(self.format_message())}", file=file, err=True)


class Duration(click.ParamType[float]):
    """A length of time such as 90s, 30m, 2h or 1d; in seconds."""

    name = "time"

    def __init__(self, longest: float) -> None:
        self.longest = longest

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if not isinstance(value, str):
            return float(value)
        match = re.fullmatch(r"([0-9]{1,7})([smhd]?)", value)
        seconds = 0 if match is None else int(match[1]) * _UNITS[match[2]]
        if not 1 <= seconds <= self.longest:
            days = self.longest / 86400
            self.fail(f"must be a length of time such as 90s, 30m, 2h or 1d, of at most {days:g} days", param, ctx)
        return seconds


class Moment(Duration):
    """A moment: so long ago, or ISO 8601; in UTC, as the watchdog takes it."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        with suppress(ValueError, OverflowError):
            return datetime.fromisoformat(value).astimezone(timezone.utc).isoformat()
        ago = super().convert(value, param, ctx)
        return (datetime.now(timezone.utc) - timedelta(seconds=ago)).isoformat()


def _nodes(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The nodes' names, for completion."""
    with suppress(control.ControlError):
        names = control.ask("status", timeout=2).get("nodes", {})
        return [CompletionItem(name) for name in sorted(names) if name.startswith(incomplete)]
    return []


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done, 1 not done (stderr says why), 2 bad usage; with ``status --check`` those of monitoring."""
    try:
        code = dualjoe.main(None if argv is None else list(argv), prog_name="dualjoe", standalone_mode=False)
        return code if isinstance(code, int) else DONE
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return NOT_DONE
    except BrokenPipeError:  # who read it has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


@click.group(
    epilog="Exit codes: 0 done, 1 not done, 2 bad usage. Each command has --help.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
def dualjoe() -> None:
    """Look at the pair and move Joe."""


def _as_json(command: _Command) -> _Command:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(command)


def _dry_run(command: _Command) -> _Command:
    return click.option("--dry-run", is_flag=True, help="Say what would be done, change nothing.")(command)


# ---- look


@dualjoe.command()
@_as_json
@click.option(
    "--check", is_flag=True, help="For monitoring: one line, exit code 0 ok, 1 warning, 2 critical, 3 unknown."
)
def status(as_json: bool, check: bool) -> int:
    """The pair at a glance: who serves, the three machines, what is wrong and the command for it."""
    try:
        reply, _ = _ask("status", as_json=as_json, timeout=60)
    except NotDone as error:
        if not check:
            raise
        click.echo(f"UNKNOWN - {error.format_message()}")
        return overview.LEVELS.index(overview.UNKNOWN)
    seen = overview.of(reply)
    if as_json:
        found = [vars(finding) for finding in seen.findings]
        _print_json({**reply, "events": [], "level": seen.level, "findings": found})
    elif check:
        click.echo("\n".join([summary.in_one_line(seen), *summary.of_overview(seen)]))
    elif sys.stdout.isatty():
        Console(highlight=False).print(screen.of_pair(seen))
    else:
        click.echo("\n".join(summary.of_overview(seen)))
    return overview.LEVELS.index(seen.level) if check else DONE


@dualjoe.command()
@click.option("--interval", type=Duration(3600), default=2, show_default="2s", help="Time between two looks.")
@click.option("--events", type=click.IntRange(0, 100), default=10, show_default=True, help="Events to show below.")
def watch(interval: float, events: int) -> None:
    """The pair and its newest events, live, until Ctrl-C."""
    if not sys.stdout.isatty():
        raise NotDone("'watch' draws on a terminal: use 'dualjoe timeline --follow' or 'dualjoe status' in a pipe")

    def look() -> Any:
        try:
            seen = overview.of(_ask("status", timeout=60)[0])
            return screen.of_watch(seen, _events(limit=events) if events else [])
        except NotDone as error:
            return error.format_message()

    with Live(look(), console=Console(highlight=False), screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(interval)
            live.update(look(), refresh=True)


@dualjoe.command()
@_as_json
@click.option("--limit", type=int, default=50, show_default=True, help="The newest so many events.")
@click.option("--node", shell_complete=_nodes, help="Only those of a node.")
@click.option("--kind", "kinds", multiple=True, help="Only those of a kind, such as failover; may be given repeatedly.")
@click.option("--since", type=Moment(3650 * 86400), help="Only those of the last 2h, 3d, or since 2026-11-24T06:00.")
@click.option("--follow", is_flag=True, help="Go on with new ones, until Ctrl-C; with --json one object a line.")
def timeline(as_json: bool, limit: int, follow: bool, **filters: Any) -> None:
    """What happened, why, who asked for it, and how long it took."""
    found = _events(as_json=as_json, limit=limit, **filters)
    if as_json and not follow:
        _print_json({"v": wire.VERSION, "ok": True, "events": found})
        return
    while True:
        for event in found:
            click.echo(json.dumps(event, sort_keys=True)) if as_json else _show_event(event)
        if not follow:
            return
        sys.stdout.flush()
        time.sleep(FOLLOW_SECONDS)
        if found:
            filters["after"] = found[-1]["number"]
        found = []
        with suppress(NotDone):  # a watchdog that is started anew is back in a moment
            found = _events(limit=_MOST_EVENTS, **filters)


def _events(*, as_json: bool = False, **filters: Any) -> list[dict[str, Any]]:
    """Events of the timeline, oldest first."""
    given: dict[str, Any] = {name: value for name, value in filters.items() if value not in (None, ())}
    return _ask("timeline", as_json=as_json, **given)[1]


@dualjoe.command()
@_as_json
@click.option("--send-alert", is_flag=True, help="Also send a test alert, and see whether it is taken.")
def doctor(as_json: bool, send_alert: bool) -> int:
    """Look over the whole set-up: services, keys, ways, clocks, disks, versions, cron, drills, alerts.

    Exit codes: 0 all is well, 1 something needs you; each finding comes with what to do.
    """
    _must_be_root("doctor")
    from . import facts  # noqa: PLC0415 - what reaches the nodes is slow to load, and wanted only here

    examined = rules.examine(facts.collect(send_alert=send_alert))
    level = rules.level(examined)
    if as_json:
        told = {name: None if found is None else [vars(each) for each in found] for name, found in examined.items()}
        _print_json({"v": wire.VERSION, "ok": level == overview.OK, "level": level, "examined": told})
    elif sys.stdout.isatty():
        Console(highlight=False).print(screen.of_examination(examined))
    else:
        click.echo("\n".join(summary.of_examination(examined)))
    return DONE if level == overview.OK else NOT_DONE


@dualjoe.command("support-bundle")
@click.option("--output", type=click.Path(path_type=Path), help="The file to write; by default one in this folder.")
@_as_json
def support_bundle(output: Path | None, as_json: bool) -> None:
    """Put what somebody who helps needs to see into one file: status, timeline, journals, settings; no secrets."""
    _must_be_root("support-bundle")
    from . import bundle  # noqa: PLC0415 - as above

    path = output or Path.cwd() / f"dualjoe-support-{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}.tar.gz"
    try:
        names = bundle.write(path)
    except OSError as error:
        raise NotDone(f"{path} cannot be written: {error.strerror}; name another place with --output") from error
    if as_json:
        _print_json({"v": wire.VERSION, "ok": True, "path": str(path), "files": names})
    else:
        click.echo(f"{path}: {len(names)} texts, secrets removed. Look into it before you send it: tar tzf {path}")


# ---- move Joe, and keep him where he is


@dualjoe.command()
@click.option("--to", shell_complete=_nodes, help="A node's name, 'primary' or 'standby'; the other node by default.")
@_dry_run
@_as_json
def switchover(to: str | None, dry_run: bool, as_json: bool) -> None:
    """A planned move: stop on one node, fetch the memory, start on the other."""
    _do("switch", as_json, to=to, dry_run=dry_run, timeout=_SWITCH_SECONDS)


@dualjoe.command()
@_dry_run
@_as_json
def failback(dry_run: bool, as_json: bool) -> None:
    """Move Joe home to the primary."""
    _do("switch", as_json, to="primary", dry_run=dry_run, timeout=_SWITCH_SECONDS)


@dualjoe.command()
@click.option(
    "--for",
    "seconds",
    type=Duration(wire.MAX_PAUSE_SECONDS),
    default=3600,
    show_default="1h",
    help="As in 90s, 30m, 2h, 1d; then the pause ends by itself.",
)
@click.option("--reason", default="", help="For those who are told of it.")
@_dry_run
@_as_json
def pause(seconds: float, reason: str, dry_run: bool, as_json: bool) -> None:
    """For maintenance: Joe stays where he is, and nobody takes over."""
    _do("pause", as_json, seconds=seconds, reason=reason, dry_run=dry_run, timeout=90)


@dualjoe.command()
@_dry_run
@_as_json
def resume(dry_run: bool, as_json: bool) -> None:
    """End a pause."""
    _do("resume", as_json, dry_run=dry_run, timeout=90)


@dualjoe.command()
@click.argument("switch", type=click.Choice(["on", "off"]), required=False)
@_dry_run
@_as_json
def observe(switch: str | None, dry_run: bool, as_json: bool) -> None:
    """Have T440 say what it would do, and move nobody by itself; without on or off, say how that is.

    It holds, also over a restart, until it is switched again or watchdog_mode is changed by site.yml.
    """
    if switch is not None:
        _do("mode", as_json, mode="observe" if switch == "on" else "act", dry_run=dry_run)
        return
    reply, _ = _ask("status", as_json=as_json, timeout=60)
    if as_json:
        _print_json({name: reply[name] for name in ("v", "ok", "mode", "mode_setting")})
        return
    told = {"act": "T440 acts: it moves Joe when it must", "observe": "T440 only observes: it moves nobody by itself"}
    by = "as watchdog_mode says" if reply["mode"] == reply["mode_setting"] else "as an operator has switched it"
    click.echo(
        f"{told[reply['mode']]}, {by}. 'dualjoe observe {'on' if reply['mode'] == 'act' else 'off'}' changes it."
    )


@dualjoe.command("declare-off")
@click.argument("node", shell_complete=_nodes)
@_dry_run
@_as_json
def declare_off(node: str, dry_run: bool, as_json: bool) -> None:
    """Your word that a silent node has no power: nobody waits for its lease."""
    _do("declare-off", as_json, node=node, dry_run=dry_run, timeout=90)


@dualjoe.command("alert-test")
@_as_json
def alert_test(as_json: bool) -> None:
    """Send a test alert and wait until it is taken."""
    reply, events = _ask("alert-test", as_json=as_json, timeout=60)
    if as_json:
        _print_json({**reply, "events": events})
    else:
        click.echo(f"The test alert was taken by: {', '.join(reply['channels'])}.")


# ---- ask, and show


def _ask(
    command: str, *, as_json: bool = False, heard: Callable[[Event], None] | None = None, **fields: Any
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The watchdog's final answer, and the events before it. Raises NotDone with what it says, or what to look at; a
    program is told all of it."""
    events: list[dict[str, Any]] = []

    def take(event: dict[str, Any]) -> None:
        events.append(event)
        if heard is not None and not as_json:
            heard(event)

    try:
        reply = control.ask(command, on_event=take, **fields)
    except control.ControlError as error:
        raise NotDone(f"{error}; 'dualjoe doctor' looks further") from error
    if reply.get("ok") is True:
        return reply, events
    if as_json:
        _print_json({**reply, "events": events})
        raise click.exceptions.Exit(NOT_DONE)
    raise NotDone(str(reply.get("message")))


def _do(command: str, as_json: bool, **fields: Any) -> None:
    """Have the watchdog do something, and show its events as they come."""
    reply, events = _ask(command, as_json=as_json, heard=_show_event, by=_asker(), **fields)
    if as_json:
        _print_json({**reply, "events": events})
    else:
        click.echo(reply["message"])


def _must_be_root(command: str) -> None:
    if os.geteuid() != 0:
        raise NotDone(f"'{command}' looks at what only root may see: sudo dualjoe {command}")


def _asker() -> str:
    """Who asks, for the timeline."""
    with suppress(OSError, KeyError):
        return os.environ.get("SUDO_USER") or getpass.getuser()
    return f"user {os.getuid()}"


def _show_event(event: Event) -> None:
    if sys.stdout.isatty():
        Console(highlight=False, soft_wrap=True).print(screen.of_event(event))
    else:
        click.echo(summary.of_event(event))
        sys.stdout.flush()


def _print_json(value: Mapping[str, Any]) -> None:
    click.echo(json.dumps(value, indent=2, sort_keys=True))
