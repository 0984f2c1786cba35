"""`dualjoe support-bundle`: what somebody who helps needs to see of T440, and of what the nodes tell; no secrets."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dualjoe import control, doctor, overview, redaction, summary

from . import facts

ETC = Path("/etc/dualjoe")
JOBS = Path("/var/lib/dualjoe/jobs")
MOST_BYTES = 4 << 20  # of one text; its end is kept
COMMAND_SECONDS = 30.0
EVENTS = 1000
COMMANDS = {
    "journal.txt": "journalctl --no-pager --output=short-iso --lines=5000"
    " --unit=dualjoe-watchdog --unit=dualjoe-converge --unit=dualjoe-web --unit=cron",
    "units.txt": "systemctl --no-pager --full status dualjoe-watchdog dualjoe-converge.path dualjoe-web cron docker",
    "disks.txt": "df --human-readable --print-type",
    "addresses.txt": "ip -brief address",
    "clock.txt": "timedatectl show",
    "cron.txt": "grep --recursive --line-number . /etc/cron.d",
    "versions.txt": "uname --all; cat /etc/os-release; rsync --version; ssh -V; docker --version; python3 --version",
    "packages.txt": "/opt/dualjoe/watchdog/bin/python3 -m pip list --disable-pip-version-check",
}


def write(path: Path) -> list[str]:
    """Put the bundle at ``path``, readable by its owner only. The names of what is in it. Raises OSError."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    names = []
    try:
        with os.fdopen(handle, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
            for name, text in _texts(set(_known())):
                content = text.encode("utf-8", "replace")[-MOST_BYTES:]
                member = tarfile.TarInfo(f"{path.name.partition('.')[0]}/{name}")
                member.size, member.mode = len(content), 0o600
                archive.addfile(member, io.BytesIO(content))
                names.append(name)
    except BaseException:  # also Ctrl-C: half a bundle would only be in the way
        path.unlink()
        raise
    return names


def _known() -> Iterator[str]:
    """The secrets of T440's own files, by their value."""
    for path in (*ETC.glob("*.token"), *ETC.glob("*.urls")):
        yield from redaction.values(re.split(r"[\s/?&@:]+", _read(path)))  # of a URL, each part by itself
    for path in ETC.glob("*.json"):
        tree = _parsed(_read(path))
        yield from redaction.values(tree) if path.name == "pings.json" else redaction.named(tree)


def _texts(known: set[str]) -> Iterator[tuple[str, str]]:
    """Name and text of each part, without the secrets."""
    status, events = _asked()
    yield "status.json", _json(status, known)
    yield "timeline.json", _json(events, known)
    for folder, place in ((ETC, "settings"), (JOBS, "jobs")):
        for path in sorted(folder.glob("*.json")):
            yield f"{place}/{path.name}", _json(_parsed(_read(path)), known)
    for name, text in _plain(status, events):
        yield name, redaction.of_text(text, known)


def _plain(status: dict[str, Any], events: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    yield "status.txt", _said(lambda: summary.of_overview(overview.of(status)))
    yield "timeline.txt", _said(lambda: [summary.of_event(event) for event in events])
    yield "doctor.txt", _said(lambda: summary.of_examination(doctor.examine(facts.collect(send_alert=False))))
    for name, command in COMMANDS.items():
        yield name, _run(command)


def _asked() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What the watchdog answers to ``status``, or why it does not; and its newest events."""
    events: list[dict[str, Any]] = []
    try:
        status = control.ask("status", timeout=60)
        control.ask("timeline", limit=EVENTS, on_event=events.append)
    except control.ControlError as error:
        return {"ok": False, "message": str(error)}, events
    return status, events


def _said(work: Callable[[], list[str]]) -> str:
    """Lines for people, or why there are none: a bundle is asked for when something is broken."""
    try:
        return "\n".join(work())
    except Exception as error:  # noqa: BLE001 - whatever it is, the rest of the bundle must come
        return f"{type(error).__name__}: {error}"


def _json(tree: Any, known: set[str]) -> str:
    return json.dumps(redaction.of_tree(tree, known), indent=2, sort_keys=True)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError as error:
        return f"{path}: {error.strerror}"


def _run(command: str) -> str:
    """What a command of the table says, its complaints as well."""
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=COMMAND_SECONDS,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return done.stdout.decode("utf-8", "replace")
