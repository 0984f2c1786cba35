"""Names of dated copies: their time in UTC, as 20261124T060000Z."""

from __future__ import annotations

import re
from datetime import datetime, timezone

_NAME = re.compile(r"\d{8}T\d{6}Z")
_FORMAT = "%Y%m%dT%H%M%SZ"


def name_at(moment: datetime) -> str:
    """The name of a copy that was made then."""
    return moment.astimezone(timezone.utc).strftime(_FORMAT)


def name_of(moment: str) -> str:
    """The name of a copy that was made at ``moment`` (UTC, ISO 8601 to the second). Raises ValueError."""
    name = re.sub(r"[-:]", "", moment)
    if not is_name(name):
        raise ValueError(f"{moment!r} is no time in UTC, as 2026-11-24T06:00:00Z")
    return name


def is_name(name: str) -> bool:
    """Whether it is the name of a copy."""
    try:
        return bool(_NAME.fullmatch(name) and time_of(name))
    except ValueError:
        return False


def time_of(name: str) -> datetime:
    """When the copy of this name was made. Raises ValueError."""
    return datetime.strptime(name, _FORMAT).replace(tzinfo=timezone.utc)
