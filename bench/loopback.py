"""An sshd of one's own, on a free port of loopback, with keys of its own: what a benchmark's programs log in to."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from measuring import until


class Loopback:
    """``doors``: the name of a key -> the one command it may run; '' for all. Everything lies in ``place``."""

    def __init__(self, place: Path, doors: Mapping[str, str]) -> None:
        self.place = place
        self.user = subprocess.run(["id", "-un"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
        self.port = _free_port()
        self.known_hosts = place / "known_hosts"
        public = {}
        for name in ("host", *doors):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(place / name)]
            subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
            public[name] = (place / f"{name}.pub").read_text(encoding="utf-8").strip()
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {public['host']}\n", encoding="utf-8")
        accepted = [f"{self._option(name, command)} {public[name]}\n" for name, command in doors.items()]
        (place / "authorized").write_text("".join(accepted), encoding="utf-8")
        (place / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1:{self.port}\n"
            f"HostKey {place / 'host'}\n"
            f"AuthorizedKeysFile {place / 'authorized'}\n"
            "PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"
            "MaxStartups 100\nSubsystem sftp internal-sftp\n",
            encoding="utf-8",
        )

    def _option(self, name: str, command: str) -> str:
        if not command:
            return "restrict"
        script = self.place / f"{name}.door"
        script.write_text(f"#!/bin/sh\nexec {command}\n", encoding="utf-8")
        script.chmod(0o755)
        return f'restrict,command="{script}"'

    @property
    def login(self) -> str:
        return f"{self.user}@127.0.0.1"

    def ssh(self, key: str) -> list[str]:
        """The command line of ssh with this key, up to the address."""
        known = f"UserKnownHostsFile={self.known_hosts}"
        return ["ssh", "-F", "none", "-i", str(self.place / key), "-p", str(self.port), "-o", known]

    @contextmanager
    def served(self) -> Iterator[None]:
        """With the sshd."""
        program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
        if program is None:
            raise RuntimeError("sshd is not there: apt install openssh-server; its service need not run")
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd wants it, also as a second one
        log = self.place / "sshd.log"
        with log.open("wb") as told:
            command = [program, "-D", "-e", "-f", str(self.place / "sshd_config")]
            server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=told, stderr=told)
            try:
                until(lambda: _listens(self.port), 10, lambda: f"sshd: {log.read_text(encoding='utf-8')}")
                yield
            finally:
                server.terminate()
                server.wait()


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0
