"""The facts that ``dualjoe.doctor`` judges: looked up on T440, and asked of the watchdog and of the nodes."""

from __future__ import annotations

import asyncio
import grp
import importlib.metadata
import json
import pwd
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncssh
from dualjoe import control, installed, uncovered, wire
from dualjoe.doctor import Facts, File, Reach, Unit

from .nodes import Node, Unreachable
from .settings import BadSettings, NodeSettings, Settings, load

CONFIG = Path("/etc/dualjoe/watchdog.json")
RESTORE_KEY = Path("/etc/dualjoe/keys/restore")
LOCK = Path("/opt/dualjoe/watchdog-requirements.txt")
LIBRARY = Path("/usr/local/lib/dualjoe/dualjoe")
DRILL = Path("/etc/cron.d/dualjoe-drill")
WEB = Path("/etc/dualjoe/web.json")
BACKUP = Path("/etc/dualjoe/backup.json")
DOCKER = "docker"
REACH_SECONDS = 10.0
COMMAND_SECONDS = 10.0
_PINNED = re.compile(r"^([0-9a-z.:,\[\]-]+) ", re.MULTILINE)
_LOCKED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)\s*\\?$", re.MULTILINE)


def collect(*, send_alert: bool) -> Facts:
    """Everything that root can see. Nothing is changed; a test alert is sent only where that is asked for."""
    facts = _of_backups(_of_machine(Facts()))
    try:
        settings = load(CONFIG)
    except BadSettings as error:
        facts = replace(facts, mistakes=str(error).splitlines())
    else:
        facts = _of_settings(facts, settings)
    try:
        facts = replace(facts, status=control.ask("status", timeout=60))
    except control.ControlError as error:
        return replace(facts, silence=str(error))
    return replace(facts, alert=_alert()) if send_alert else facts


def _of_machine(facts: Facts) -> Facts:
    packages = {_normal(each.name): each.version for each in importlib.metadata.distributions()}
    return replace(
        facts,
        units=[_unit(name) for name in ("dualjoe-watchdog.service", "cron.service")],
        synchronised=_synchronised(),
        library=_library(),
        locked=_locked(LOCK),
        installed=packages,
    )


def _of_backups(facts: Facts) -> Facts:
    """What Docker has, and what of it role backup has written down to be saved."""
    facts = replace(facts, containers=_containers())
    try:
        settings = json.loads(BACKUP.read_text("utf-8"))
        saved = [str(item["name"]) for item in settings["containers"]]
        return replace(facts, saved=saved, left_out=list(map(str, settings.get("ignore", []))))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return facts


def _containers() -> list[str] | None:
    """Those of T440, running or not, but for a drill's; None where Docker is there and does not say."""
    if shutil.which(DOCKER) is None:
        return []
    listed = ("container", "ls", "--all", "--format={{json .}}")
    try:
        told = subprocess.run([DOCKER, *listed], capture_output=True, check=True, timeout=COMMAND_SECONDS).stdout
        found = [json.loads(line) for line in told.splitlines()]
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return [str(each["Names"]) for each in found if uncovered.SCRATCH not in str(each.get("Labels"))]


def _of_settings(facts: Facts, settings: Settings) -> Facts:
    drills = any(job.on_witness for job in settings.jobs)
    units = ["dualjoe-converge.path"] if settings.converge is not None else []
    units += ["docker.service"] if drills else []
    units += ["dualjoe-web.service"] if WEB.exists() else []
    return replace(
        facts,
        jobs=settings.expected_jobs,
        alerts_configured=bool(settings.channels),
        files=[look(*wanted) for wanted in _wanted(settings)],
        pinned=pinned(settings.known_hosts),
        units=[*facts.units, *(_unit(name) for name in units)],
        cron_files={str(DRILL): DRILL.exists()} if drills else {},
        reaches=asyncio.run(_reach_all(settings)),
        disks=_disks([settings.state.parent, Path("/")]),
        store=_store(settings.state),
    )


# ---- files


def _wanted(settings: Settings) -> Iterable[tuple[Path, str, str]]:
    """Path, mode and owner of what must be there, and must not be read by all."""
    yield settings.key, "0600", "dualjoe:dualjoe"
    yield RESTORE_KEY, "0600", "root:root"
    yield settings.known_hosts, "0644", "root:root"
    yield CONFIG, "0640", "root:dualjoe"
    if WEB.exists():
        yield WEB, "0600", "root:root"
    if settings.telegram is not None:
        yield settings.telegram.token_file, "0640", "root:dualjoe"
    if settings.apprise_file is not None:
        yield settings.apprise_file, "0640", "root:dualjoe"


def look(path: Path, mode: str, owner: str) -> File:
    """A file as it should be and as it is."""
    wanted = File(str(path), mode, owner)
    try:
        told = path.stat()
    except OSError:
        return wanted
    return replace(wanted, mode=f"{told.st_mode & 0o7777:04o}", owner=f"{_user(told.st_uid)}:{_group(told.st_gid)}")


def _user(number: int) -> str:
    with suppress(KeyError):
        return pwd.getpwuid(number).pw_name
    return str(number)


def _group(number: int) -> str:
    with suppress(KeyError):
        return grp.getgrgid(number).gr_name
    return str(number)


def pinned(known_hosts: Path) -> frozenset[str] | None:
    """The machines with a host key in a file, as ssh looks them up; None where it cannot be read."""
    try:
        text = known_hosts.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    return frozenset(name for names in _PINNED.findall(text) for name in names.split(","))


def _disks(folders: Sequence[Path]) -> dict[str, tuple[int, int]]:
    rooms = {str(folder): installed.room(folder) for folder in folders}
    return {folder: (room["free_bytes"], room["total_bytes"]) for folder, room in rooms.items() if room}


def _store(path: Path) -> str:
    """What is wrong with the record; '' where nothing is. It is only read, beside the watchdog that writes it."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=5)) as opened:
            told = opened.execute("PRAGMA quick_check").fetchone()[0]
    except sqlite3.Error as error:
        return f"{path}: {error}"
    return "" if told == "ok" else f"{path}: {told}"


# ---- services and versions


def _unit(name: str) -> Unit:
    asked = ("ActiveState", "UnitFileState", "NRestarts")
    text = _run("systemctl", "show", name, *(f"--property={each}" for each in asked))
    told = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    restarts = told.get("NRestarts", "")
    return Unit(
        name,
        told.get("ActiveState", ""),
        told.get("UnitFileState", ""),
        int(restarts) if restarts.isdigit() else 0,
    )


def _synchronised() -> bool | None:
    told = _run("timedatectl", "show", "--property=NTPSynchronized", "--value").strip()
    return {"yes": True, "no": False}.get(told)


def _run(*command: str) -> str:
    """What a command says; '' where it fails or hangs."""
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=COMMAND_SECONDS).stdout
    return ""


def _library() -> str:
    with suppress(OSError):
        return installed.on_disk(LIBRARY)
    return ""


def _locked(lock: Path) -> dict[str, str]:
    try:
        text = lock.read_text("utf-8")
    except OSError:
        return {}
    return {_normal(name): version for name, version in _LOCKED.findall(text)}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# ---- the nodes, and people


async def _reach_all(settings: Settings) -> list[Reach]:
    return list(await asyncio.gather(*(reach(node, settings) for node in settings.nodes)))


async def reach(node: NodeSettings, settings: Settings) -> Reach:
    """Ask a node as the watchdog does: its key, its account, its list of host keys."""
    way = Node(node, settings.key, settings.known_hosts)
    found = Reach(node.name, node.address, node.port, "answered")
    try:
        reply = await way.ask(wire.request("probe"), REACH_SECONDS)
    except Unreachable as error:
        return replace(found, kind=_kind(error.__cause__), detail=str(error))
    finally:
        way.close()
    if reply.get("ok") is not True or reply.get("node") != node.name:
        said = reply.get("message") or f"it says that it is {reply.get('node')!r}"
        return replace(found, kind="other", detail=str(said))
    return found


def _kind(error: BaseException | None) -> str:
    kinds: dict[str, tuple[type[BaseException], ...]] = {
        "refused": (ConnectionRefusedError,),
        "timeout": (TimeoutError,),
        "host_key": (asyncssh.HostKeyNotVerifiable,),
        "key": (asyncssh.PermissionDenied,),
    }
    return next((kind for kind, types in kinds.items() if isinstance(error, types)), "other")


def _alert() -> str:
    """How a test alert ends; '' is well."""
    try:
        reply: dict[str, Any] = control.ask("alert-test", timeout=60)
    except control.ControlError as error:
        return str(error)
    return "" if reply.get("ok") is True else str(reply.get("message"))
