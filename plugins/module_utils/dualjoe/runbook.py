"""Where it is written what to do about each kind of alert. Pure.

A kind is the first word of a trouble's key (see ``dualjoe.alerts``), or the kind of something that was done.
"""

from __future__ import annotations

import re

PAGE = "docs/operations.md"

SECTIONS = {
    "service": "Joe is not served",
    "witness": "T440 and a node do not hear each other",
    "lost": "A node does not answer",
    "unfit": "A node could not run Joe",
    "stray": "A gateway was started without a lease",
    "forced": "Joe runs on an operator's word",
    "paused": "Joe is paused",
    "observing": "T440 only observes",
    "disk": "The disk of T440 is full",
    "unwritten": "The disk of T440 is full",
    "channel": "A channel takes no alerts",
    "job": "A job failed",
    "late": "A job does not run, or brings nothing new",
    "stale": "A job does not run, or brings nothing new",
    "warning": "A job warns",
    "digest": "Look around",
    "failover": "Joe has moved",
    "failback": "Joe has moved",
    "switchover": "Joe has moved",
    "start": "Joe has moved",
    "not_ready": "A move did not go as it should",
    "not_synced": "A move did not go as it should",
    "not_converged": "The check after a move failed",
}


def anchor(section: str) -> str:
    """Of a heading, as GitHub and most others make it."""
    return re.sub(r"[^\w\- ]", "", section.lower()).replace(" ", "-")


def reference(key: str, url: str) -> str:
    """The end of an alert. ``url``: where people read the page; '' names it by its path in the repository."""
    section = SECTIONS[key.partition(" ")[0]]
    return f"Runbook: {url}#{anchor(section)}" if url else f"Runbook: {PAGE}, '{section}'."
