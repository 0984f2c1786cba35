"""The one-line JSON protocol between witness, guards, people and jobs.

A request and a reply are one line each. Everything a request holds is checked here for form, length and range before
any other code sees it.
"""

from __future__ import annotations

import json
import re
import socket
from dataclasses import dataclass
from typing import Any

VERSION = 1
MAX_LINE_BYTES = 65536
MAX_EPOCH = 2**53 - 1  # JSON numbers stay exact up to here
MAX_TTL_SECONDS = 600.0
MAX_PAUSE_SECONDS = 7 * 86400.0

_STAMP = re.compile(r"([0-9a-f-]{36}):(0|[1-9][0-9]{0,18})")

# Which callers may use which verb. The forced command of the caller's key names the caller.
VERBS_OF: dict[str, frozenset[str]] = {
    "witness": frozenset({"probe", "renew", "grant", "revoke", "pause", "resume", "sync"}),
    "peer": frozenset({"probe", "promise"}),
    "root": frozenset({"probe", "force", "reset"}),
    "local": frozenset({"probe"}),
}


class WireError(Exception):
    """No valid line came, or none could be sent."""


class Refused(Exception):
    """A request that is refused. ``code`` is for programs, the message for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    def reply(self) -> dict[str, Any]:
        return {"v": VERSION, "ok": False, "error": self.code, "message": str(self)}


@dataclass(frozen=True)
class Stamp:
    """A guard's boot-time clock, read at a probe and bound to that boot.

    ``nanoseconds`` is CLOCK_BOOTTIME of the boot that ``boot_id`` names.
    """

    boot_id: str
    nanoseconds: int

    def __str__(self) -> str:
        return f"{self.boot_id}:{self.nanoseconds}"

    @classmethod
    def parse(cls, text: str) -> Stamp:
        match = _STAMP.fullmatch(text)
        if match is None:
            raise Refused("bad_request", "stamp must look like BOOTID:NANOSECONDS")
        return cls(match.group(1), int(match.group(2)))


@dataclass(frozen=True)
class Request:
    """A checked request. ``epoch``, ``stamp`` and ``ttl`` (seconds) are set for the verbs that carry them."""

    verb: str
    epoch: int = 0
    stamp: Stamp | None = None
    ttl: float = 0.0
    full: bool = False


_FIELDS: dict[str, frozenset[str]] = {
    "probe": frozenset({"full"}),
    "renew": frozenset({"epoch", "stamp", "ttl"}),
    "grant": frozenset({"epoch", "stamp", "ttl"}),
    "revoke": frozenset({"epoch"}),
    "pause": frozenset({"epoch", "stamp", "ttl"}),
    "resume": frozenset({"epoch", "stamp", "ttl"}),
    "force": frozenset(),
    "reset": frozenset({"epoch"}),
    "promise": frozenset({"epoch", "ttl"}),
    "sync": frozenset(),
}
_OPTIONAL = frozenset({"full"})


def _number(raw: object, name: str, low: float, high: float) -> float:
    if isinstance(raw, bool) or not isinstance(raw, (int, float)) or not low <= raw <= high:
        raise Refused("bad_request", f"{name} must be a number from {low:g} to {high:g}")
    return raw


def parse_request(raw: dict[str, Any], caller: str) -> Request:
    """Check a decoded request line from ``caller`` (a key of VERBS_OF). Raises Refused."""
    if raw.get("v") != VERSION:
        raise Refused("bad_version", f"this side speaks protocol version {VERSION}")
    verb = raw.get("verb")
    if not isinstance(verb, str) or verb not in _FIELDS:
        raise Refused("unknown_verb", "no such verb")
    if verb not in VERBS_OF.get(caller, frozenset()):
        raise Refused("not_allowed", f"'{caller}' may not use '{verb}'")
    given = set(raw) - {"v", "verb"}
    allowed = _FIELDS[verb]
    if given - allowed or (allowed - _OPTIONAL) - given:
        raise Refused("bad_request", f"'{verb}' takes exactly: {', '.join(sorted(allowed)) or 'nothing'}")
    epoch, stamp, ttl = 0, None, 0.0
    if "epoch" in allowed:
        if not isinstance(raw["epoch"], int):
            raise Refused("bad_request", "epoch must be a whole number")
        epoch = int(_number(raw["epoch"], "epoch", 1, MAX_EPOCH))
    if "stamp" in allowed:
        if not isinstance(raw["stamp"], str):
            raise Refused("bad_request", "stamp must be a string")
        stamp = Stamp.parse(raw["stamp"])
    if "ttl" in allowed:
        longest = MAX_PAUSE_SECONDS if verb == "pause" else MAX_TTL_SECONDS
        ttl = float(_number(raw["ttl"], "ttl", 1, longest))
    full = raw.get("full", False)
    if not isinstance(full, bool):
        raise Refused("bad_request", "full must be true or false")
    return Request(verb, epoch, stamp, ttl, full)


def encode(message: dict[str, Any]) -> bytes:
    """One line, newline included."""
    return json.dumps(message, separators=(",", ":"), sort_keys=True).encode() + b"\n"


def decode(line: bytes, longest: int = MAX_LINE_BYTES) -> dict[str, Any]:
    """The object on one line. Raises WireError when it is cut off, longer than so many bytes or no JSON object."""
    if len(line) > longest:
        raise WireError("line is too long")
    if not line.endswith(b"\n"):
        raise WireError("connection closed before a whole line came")
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise WireError("line is not JSON") from error
    if not isinstance(message, dict):
        raise WireError("line is not a JSON object")
    return message


def ok(**fields: Any) -> dict[str, Any]:
    """A positive reply."""
    return {"v": VERSION, "ok": True, **fields}


def request(verb: str, **fields: Any) -> dict[str, Any]:
    """A request, unchecked: the side that answers checks it."""
    return {"v": VERSION, "verb": verb, **fields}


def ask_socket(path: str, message: dict[str, Any], timeout: float) -> dict[str, Any]:
    """Send one line to the Unix socket at ``path``, return the one reply line.

    ``timeout`` (seconds) bounds each step. Raises WireError with what to look at when nobody answers.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
            channel.settimeout(timeout)
            channel.connect(path)
            channel.sendall(encode(message))
            with channel.makefile("rb") as lines:
                return decode(lines.readline(MAX_LINE_BYTES + 1))
    except OSError as error:
        raise WireError(f"{path}: {error.strerror or error}") from error
