"""The machine that data come from: one ssh connection for a whole run, and rsync over it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from dualjoe import wire
from dualjoe.names import shown

from . import rsync
from .job import JobFailed
from .room import check_reserve
from .rsync import Deadline

KNOWN_HOSTS = Path("/etc/dualjoe/known_hosts")

_SILENCE_SECONDS = 60
_LINGER_SECONDS = 5  # a connection that nobody uses stays open for so long
_SOCKET_BYTES = 107  # of a socket's path, at most (unix(7));
_GROWS_BYTES = 38 + 17  # by which ssh makes it longer: %C is 40 digits, and it is made under another name


def ssh_options(key: Path) -> list[str]:
    """Options for a connection with this key, to pinned hosts only, that never waits for a person."""
    options = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": str(KNOWN_HOSTS),
        "IdentitiesOnly": "yes",
        "ConnectTimeout": "10",
        "ServerAliveInterval": "5",
        "ServerAliveCountMax": "3",
    }
    return ["-F", "none", *_options(options), "-i", str(key)]


def _options(options: Mapping[str, str]) -> list[str]:
    return [word for name, value in options.items() for word in ("-o", f"{name}={value}")]


def shared(ssh: Sequence[str], sockets: Path) -> list[str]:
    """The command line ``ssh`` for one connection that all runs of an account use which follow soon, or while it is
    open: a planned move waits for logins. ``sockets``: a folder of that account alone."""
    path = f"{sockets}/ssh-%C"
    if len(os.fsencode(path)) + _GROWS_BYTES > _SOCKET_BYTES:  # ssh would refuse it
        return list(ssh)
    options = {"ControlMaster": "auto", "ControlPath": path, "ControlPersist": str(_LINGER_SECONDS)}
    return [*ssh, *_options(options)]


class Exported(NamedTuple):
    """What a source says of its export; ``listed``: what its manifest or snapshot.json says, where that came along."""

    reply: Mapping[str, Any]
    listed: bytes = b""


NOT_ASKED = Exported({})


@dataclass(frozen=True)
class Source:
    """``login``: USER@ADDRESS; ``ssh``: the command line up to it; ``sockets``: a folder of this run alone, for its
    connection. The run ends at the deadline. ``trusted``: it sends what it has told; a run with another one also ends
    when the disk is nearly full."""

    login: str
    ssh: Sequence[str]
    sockets: Path
    deadline: Deadline
    trusted: bool = False

    @property
    def _ssh(self) -> list[str]:
        return shared(self.ssh, self.sockets)

    def ask_export(self, told: bytes = b"") -> Exported:
        """Have it prepare its export, after telling it something. Raises JobFailed."""
        done = rsync.run([*self._ssh, self.login, "export"], self.deadline, told)
        line, end, listed = done.stdout.partition(b"\n")
        try:
            reply = wire.decode(line + end)
        except wire.WireError as error:
            said = rsync.last_line(done.stderr) or str(error)
            raise JobFailed(f"{self.login} prepared no export (ssh ended with {done.returncode}): {said}") from error
        if reply.get("ok") is not True:
            raise JobFailed(f"the source could not save its data: {shown(reply.get('message'))}")
        if done.returncode != 0:
            raise JobFailed(
                f"{self.login} prepared no export: it ended with {done.returncode} in the midst of its answer"
            )
        return Exported(reply, listed)

    def receive(
        self,
        paths: Sequence[str],
        target: Path,
        older: Path | None = None,
        options: Sequence[str] = (),
        shown: bool = False,
    ) -> None:
        """Bring these files of its export into ``target``, whatever is there. Raises JobFailed.

        ``older`` is a tree that may have older versions of them, which save sending all of a new one.
        """
        if not paths:
            return
        words = [
            "-tI",  # whatever is asked for is sent: what may be the same has been sorted out
            "--chmod=D0750,F0640",
            f"--timeout={_SILENCE_SECONDS}",
            f"--rsh={' '.join(self._ssh)}",
            "--from0",
            "--files-from=-",
            *([f"--copy-dest={older}"] if older is not None and older.is_dir() else []),
            *(["--info=progress2"] if shown else []),
            *options,
        ]
        told = b"\0".join(map(os.fsencode, paths))
        watch = None if self.trusted else partial(check_reserve, target)
        rsync.copy([*words, f"{self.login}:", f"{target}/"], self.deadline, told, shown, watch)
