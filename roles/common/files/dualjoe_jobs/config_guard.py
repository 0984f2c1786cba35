"""The configuration of this node's gateway: where it is, which versions of it were good, and whether one is good.

Good is what keeps the rules of ``dualjoe.configuration`` and what `openclaw config validate` takes. That command is run
once for each content, as it costs seconds and looks into the state of a gateway that may be running.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dualjoe import configuration
from dualjoe.configuration import Rules
from dualjoe.includes import CannotInclude
from dualjoe.names import shown

from . import locks
from .copies import named, next_name
from .durable import sync_folder, write_json
from .job import JobFailed, utc_now

SETTINGS = Path("/etc/dualjoe/config.json")
ROOT = Path("/var/lib/dualjoe/config")

_MOST_BYTES = 8 << 20
_MOST_INCLUDED = 1000  # files, counted as often as they are included
_MOST_CHARACTERS = 300
_END_CHARACTERS = 40
_REPLACED = 10  # configurations that were put aside
_REMEMBERED = 50  # contents that the command was asked about
_ASK_AGAIN_SECONDS = 900.0  # after it has given no answer twice
_LOCK_SECONDS = 10.0
_NEW = ".dualjoe-new"
_ENV_LINE = re.compile(r"^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*[=:]\s*\S", re.MULTILINE)


@dataclass(frozen=True)
class Verdict:
    """``reasons``: what is wrong, nothing with a good one. ``sure``: False where that could not be found out."""

    reasons: tuple[str, ...]
    sure: bool = True

    @property
    def good(self) -> bool:
        return not self.reasons

    def summary(self) -> str:
        """The first reasons, in one line; short, as it goes into the guard's answers."""
        first = [_shortened(one) for one in self.reasons[:3]]
        more = f" and {len(self.reasons) - 3} more" if len(self.reasons) > 3 else ""
        return "; ".join(first) + more


def _shortened(reason: str) -> str:
    """Without some of its middle where it is long: its end names the rule."""
    if len(reason) <= _MOST_CHARACTERS:
        return reason
    return f"{reason[: _MOST_CHARACTERS - _END_CHARACTERS]}...{reason[-_END_CHARACTERS:]}"


class Included:
    """Reads the files that the configuration ``live`` includes, from its folder only. ``contents``: what they hold."""

    def __init__(self, live: Path) -> None:
        self.folder = live.parent
        self.contents: dict[str, bytes] = {}
        self._left = _MOST_INCLUDED

    def __call__(self, including: str, named: str) -> tuple[str, bytes]:
        """As ``configuration.Read``; files are named by their paths in the folder."""
        self._left -= 1
        if self._left < 0:
            raise CannotInclude(f"more than {_MOST_INCLUDED} files are included")
        try:
            place = Path(os.path.normpath(self.folder / Path(including).parent / named))
            if not all(_inside(how(place), how(self.folder)) for how in (os.path.abspath, os.path.realpath)):
                raise CannotInclude(f"{including} includes {named}, which is not in {self.folder}")
            content = read(place)
        except (JobFailed, OSError, ValueError) as error:
            raise CannotInclude(f"{including} includes {named}: {error}") from error
        if content is None:
            raise CannotInclude(f"{including} includes {named}, which is missing: {place}")
        name = str(place.relative_to(self.folder))
        self.contents[name] = content
        return name, content


def _inside(path: str, folder: str) -> bool:
    return os.path.commonpath([path, folder]) == folder


@dataclass(frozen=True)
class ConfigGuard:
    """What /etc/dualjoe/config.json says, and what is kept below ``root``. ``live`` is the gateway's file."""

    root: Path
    live: Path
    executable: str
    rules: Rules
    keep: int
    validate_seconds: float
    auto_rollback: bool

    @classmethod
    def load(cls, settings: Path = SETTINGS, root: Path = ROOT) -> ConfigGuard:
        """Read the file that role config_guard writes. Raises JobFailed."""
        try:
            raw = json.loads(settings.read_text("utf-8"))
            live = Path(raw["path"])
            environment = {*map(str, raw["environment"]), *_dotenv(live.with_name(".env"))}
            rules = Rules(frozenset(map(str, raw["sentinels"])), frozenset(environment), float(raw["shrunk_share"]))
            keep, seconds = int(raw["keep"]), float(raw["validate_seconds"])
            return cls(root, live, str(raw["executable"]), rules, keep, seconds, bool(raw["auto_rollback"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise JobFailed(f"{settings}: {error!r}; run site.yml again") from error

    @property
    def good(self) -> Path:
        """Versions that were good, each a file called after its time."""
        return self.root / "good"

    @property
    def replaced(self) -> Path:
        """What a rollback has put aside."""
        return self.root / "replaced"

    def read(self) -> bytes | None:
        """The live configuration; None where there is none. Raises JobFailed."""
        return read(self.live)

    def newest(self) -> bytes | None:
        """The last good version."""
        versions = named(self.good)
        return read(versions[-1]) if versions else None

    def keep_good(self, content: bytes) -> Path:
        """Have ``content`` as the newest good version. Returns where it is. Raises JobFailed or OSError."""
        with self._locked():
            versions = named(self.good)
            if versions and read(versions[-1]) == content:
                return versions[-1]
            return _keep(self.good, content, self.keep)

    def was_good(self, content: bytes) -> bool:
        """Whether it is a good version that is kept."""
        return any(read(version) == content for version in named(self.good))

    def put_aside(self, content: bytes) -> Path:
        """Keep what is about to be replaced. Returns where."""
        return _keep(self.replaced, content, _REPLACED)

    def judge(self, content: bytes | None, accept_losses: bool = False, ask: bool = True) -> Verdict:
        """Whether a configuration is good here. ``accept_losses``: what is gone since the last good one was to go.

        ``ask``: whether the command may be run; otherwise only what it said before counts.
        """
        included = Included(self.live)
        findings = configuration.check(content, self.newest(), self.rules, accept_losses, included)
        if findings or content is None:
            return Verdict(tuple(map(str, findings)))
        asked = f"{_sum(content, included.contents)}:{_stamp(self.executable)}"
        before = self._remembered().get(asked)
        tries = before["tries"] if before else 0
        just_now = before is not None and 0 <= time.time() - before["at"] < _ASK_AGAIN_SECONDS  # clocks are set back
        if before and (before["sure"] or not ask or (tries > 1 and just_now)):
            return Verdict(tuple(before["reasons"]), before["sure"])
        if not ask:
            return Verdict(())
        verdict = self._ask(content)
        with self._locked():
            known = {key: one for key, one in self._remembered().items() if key != asked}
            told = {"reasons": verdict.reasons, "sure": verdict.sure, "at": time.time(), "tries": tries + 1}
            known[asked] = told
            write_json(self.root / "asked.json", dict(list(known.items())[-_REMEMBERED:]), mode=0o600)
        return verdict

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """What is kept here is written by the check, a rollback, an export and a publication."""
        with (self.root / "kept.lock").open("a") as held:
            if not locks.take(held.fileno(), locks.EXCLUSIVE, _LOCK_SECONDS):
                raise JobFailed(f"another run has been writing into {self.root} for {_LOCK_SECONDS:.0f} s")
            yield

    def _remembered(self) -> dict[str, Any]:
        try:
            known = json.loads((self.root / "asked.json").read_text("utf-8"))
            return {key: one for key, one in known.items() if {"reasons", "sure", "at", "tries"} <= one.keys()}
        except (OSError, ValueError, AttributeError):  # then it is asked once more
            return {}

    def _ask(self, content: bytes) -> Verdict:
        """Have `openclaw config validate` look at it, beside the live file, as it may include others from there."""
        candidate = self.live.with_name(f".{self.live.name}.{os.getpid()}{_NEW}")
        try:
            _write(candidate, content, 0o600)
            done = subprocess.run(
                [self.executable, "config", "validate", "--json"],
                env={
                    "PATH": os.environ.get("PATH", os.defpath),
                    "HOME": str(self.live.parent),
                    "OPENCLAW_STATE_DIR": str(self.live.parent),
                    "OPENCLAW_CONFIG_PATH": str(candidate),
                },
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=self.validate_seconds,
                check=False,
            )
            told = json.loads(done.stdout)
            valid, issues = told["valid"], told.get("issues", [])
            reasons = [] if valid is True else [_issue(one) for one in issues] or ["it is invalid"]
        except subprocess.TimeoutExpired:
            return Verdict((f"'openclaw config validate' was not done within {self.validate_seconds:g} s",), sure=False)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            return Verdict((f"'openclaw config validate' could not be asked: {shown(error)}",), sure=False)
        finally:
            candidate.unlink(missing_ok=True)
        hidden = [configuration.hidden(one, content, Included(self.live)) for one in reasons]
        return Verdict(tuple(f"{one} (openclaw)" for one in hidden))

    def write_live(self, content: bytes) -> None:
        """Replace the live file, whole or not at all; owner and mode stay. The gateway takes it up by itself."""
        place = self.live.resolve()
        status = place.stat() if place.exists() else None
        new = place.with_name(f".{place.name}{_NEW}")
        try:
            _write(new, content, status.st_mode & 0o777 if status else 0o600)
            if status:
                with suppress(PermissionError):
                    os.chown(new, -1, status.st_gid)
            new.replace(place)
        finally:
            new.unlink(missing_ok=True)
        sync_folder(place.parent)


def read(path: Path) -> bytes | None:
    """A configuration's bytes; None where there is no file. Raises JobFailed, as the gateway cannot read it either."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise JobFailed(f"{path} is no file")
            content = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise JobFailed(f"{path}: {error.strerror}; it must be a file that the gateway's account can read") from error
    if len(content) > _MOST_BYTES:
        raise JobFailed(f"{path} has more than {_MOST_BYTES >> 20} MiB: that is no configuration")
    return content


def _write(path: Path, content: bytes, mode: int) -> None:
    """A new file, on the disk."""
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        os.fchmod(file.fileno(), mode)
        file.flush()
        os.fsync(file.fileno())


def _keep(folder: Path, content: bytes, keep: int) -> Path:
    """A dated file in ``folder``, of which the newest ``keep`` stay."""
    folder.mkdir(mode=0o700, exist_ok=True)
    place = folder / next_name(folder, utc_now())
    new = folder / _NEW
    _write(new, content, 0o600)
    new.replace(place)
    sync_folder(folder)
    for old in named(folder)[:-keep]:
        old.unlink()
    return place


def _issue(issue: Any) -> str:
    if isinstance(issue, dict):
        return shown(f"{issue.get('path')}: {issue.get('message')}")
    return shown(issue)


def _dotenv(path: Path) -> set[str]:
    """The variables that OpenClaw reads from a file beside its configuration."""
    try:
        return set(_ENV_LINE.findall(path.read_text("utf-8", "replace")))
    except OSError:
        return set()


def _sum(content: bytes, included: Mapping[str, bytes]) -> str:
    """The same for the same configuration with the same included files."""
    digest = hashlib.sha256(content)
    for name, each in sorted(included.items()):
        digest.update(f"{name}\0{hashlib.sha256(each).hexdigest()}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _stamp(executable: str) -> int:
    """What changes when another OpenClaw is installed: it may take what the other one refused."""
    try:
        return Path(executable).resolve().stat().st_mtime_ns
    except OSError:
        return 0
