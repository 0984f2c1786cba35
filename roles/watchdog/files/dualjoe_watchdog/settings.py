"""The watchdog's settings: one JSON file, checked as a whole before anything runs."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated, Literal

from dualjoe.freshness import Job
from dualjoe.notices import Quiet, Rules
from dualjoe.telegram import Chat
from dualjoe.timing import Timing, mistakes
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from .channels import Apprise, Channel, Telegram

Seconds = Annotated[float, Field(gt=0, le=86400)]
Interval = Annotated[float, Field(gt=0, le=31 * 86400)]


class BadSettings(Exception):
    """The file cannot be used; one line per mistake, each with its path."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NodeSettings(_Model):
    """How the watchdog reaches one node."""

    name: str = Field(min_length=1)
    address: str = Field(min_length=1)
    port: int = Field(default=22, ge=1, le=65535)
    user: str = "dualjoe"


class TimingSettings(_Model):
    """Seconds and counts; see ``dualjoe.timing`` for what they mean and how they hang together."""

    heartbeat: Seconds = 10
    full_check: Seconds = 30
    ttl: Seconds = 30
    margin: Seconds = 5
    retry: Seconds = 2
    confirm_checks: int = Field(default=2, ge=1, le=10)
    verb_timeout: Seconds = 4
    stop: Seconds = 6
    guard_watchdog: Seconds = 3
    slack: Seconds = 1


class TelegramSettings(_Model):
    """Where alerts go. The token stands in a file of its own."""

    api_base: str = Field(default="https://api.telegram.org", pattern="^https?://")
    token_file: Path
    chat_id: str = Field(min_length=1)


class AlertSettings(_Model):
    """When alerts leave; see ``dualjoe.notices.Rules``."""

    group_seconds: float = Field(default=5, ge=0, le=300)
    per_minute: int = Field(default=10, ge=1, le=60)
    quiet: str = ""

    @field_validator("quiet")
    @classmethod
    def _hours(cls, text: str) -> str:
        if text:
            Quiet.parse(text)
        return text


class JobSettings(_Model):
    """A job that runs on both nodes, or on T440; see ``dualjoe.freshness.Job``."""

    name: str = Field(pattern="^[a-z0-9-]+$")
    interval: Interval
    brings: str = ""
    on_witness: bool = False


class Settings(_Model):
    """Everything the watchdog needs to know."""

    pair: str = Field(min_length=1)
    primary: NodeSettings
    standby: NodeSettings
    timing: TimingSettings = TimingSettings()
    mode: Literal["act", "observe"] = "act"
    auto_failback: bool = True
    holddown: Seconds = 300
    absent_wait: Seconds = 180
    grant_timeout: Seconds = 120
    sync_timeout: Seconds = 310
    reminder: Seconds = 3600
    free_bytes: int = Field(default=50 * 2**20, ge=0)  # with less room on its disk, T440 is in trouble
    jobs: tuple[JobSettings, ...] = ()
    fence_command: tuple[str, ...] = ()
    fence_timeout: Seconds = 30
    telegram: TelegramSettings | None = None
    apprise_file: Path | None = None  # with the URLs of further channels, one a line
    alerts: AlertSettings = AlertSettings()
    digest: Literal["daily", "weekly", "off"] = "weekly"
    digest_hour: int = Field(default=9, ge=0, le=23)
    runbook_url: str = Field(default="", pattern="^(https?://.*)?$")
    key: Path = Path("/etc/dualjoe/keys/witness")
    known_hosts: Path = Path("/etc/dualjoe/known_hosts")
    state: Path = Path("/var/lib/dualjoe/witness.sqlite")
    socket: Path = Path("/run/dualjoe/watchdog.sock")
    web_user: str = "dualjoe-web"  # of the web page, which may only look,
    web_acts: bool = False  # or also pause, resume and move
    converge: Path | None = None  # the folder in which word of each move is left for dualjoe-converge

    @property
    def nodes(self) -> tuple[NodeSettings, NodeSettings]:
        return self.primary, self.standby

    @property
    def channels(self) -> list[Channel]:
        """Raises OSError, and ValueError where the file with the URLs is not one."""
        bot = [] if self.telegram is None else [Telegram(Chat(**self.telegram.model_dump()))]
        return [*bot, *self.apprise]

    @property
    def apprise(self) -> list[Apprise]:
        """The further channels. Raises the same."""
        urls = [] if self.apprise_file is None else self.apprise_file.read_text(encoding="utf-8").split()
        return [Apprise(url, place) for place, url in enumerate(urls, 1)]

    @property
    def rules(self) -> Rules:
        quiet = Quiet.parse(self.alerts.quiet) if self.alerts.quiet else None
        return Rules(self.alerts.group_seconds, self.alerts.per_minute, quiet)

    @property
    def expected_jobs(self) -> tuple[Job, ...]:
        return tuple(Job(**job.model_dump()) for job in self.jobs)

    def lease_timing(self) -> Timing:
        return Timing(**self.timing.model_dump())


def load(path: Path) -> Settings:
    """Read and check the file at ``path``. Raises BadSettings with every mistake in it."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadSettings(f"{path}: {error}") from error
    try:
        settings = Settings.model_validate(raw)
    except ValidationError as error:
        lines = [f"{path}: {'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors()]
        raise BadSettings("\n".join(lines)) from None  # the original would print the values
    found = [f"{path}: timing: {mistake}" for mistake in mistakes(settings.lease_timing())]
    if settings.primary.name == settings.standby.name:
        found.append(f"{path}: primary and standby are the same node")
    try:
        keys = [channel.key for channel in settings.apprise]
        if len(set(keys)) < len(keys):
            found.append(f"{settings.apprise_file}: the same URL stands there twice")
    except (OSError, ValueError) as error:
        found.append(f"{path}: apprise_file: {getattr(error, 'strerror', None) or 'it is not text in UTF-8'}")
    if found:
        raise BadSettings("\n".join(found))
    return settings


async def check_channels(settings: Settings) -> None:
    """Ask Apprise whether it knows the URLs. Raises BadSettings with the place of each that it does not."""
    found = await asyncio.gather(*(channel.check() for channel in settings.apprise))
    lines = [f"{ch.name}: {problem}" for ch, problem in zip(settings.apprise, found, strict=True) if problem]
    if lines:
        raise BadSettings("\n".join(f"{settings.apprise_file}: {line}" for line in lines))
