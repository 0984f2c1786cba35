"""Whose job it is: what another account had written, root included, would be in the way of every later run."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from .job import JobFailed


def check_account(root: Path) -> None:
    """Raise JobFailed unless this process is the account whose folder ``root`` is."""
    try:
        owner = root.stat().st_uid
    except OSError as error:
        raise JobFailed(f"{root}: {error.strerror}; run site.yml again") from error
    if os.geteuid() != owner:
        try:
            name = pwd.getpwuid(owner).pw_name
        except KeyError:
            name = str(owner)
        raise JobFailed(f"run this as {name}: runuser -u {name} -- dualjoe ...")
