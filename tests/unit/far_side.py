"""The other node's forced command, by processes that have it imported already.

A fresh interpreter takes several times as long as what the tests' ssh asks of it. So one process, started when the
first test needs it, forks for each call; ``CALL`` is what ssh runs instead: it hands on its own three files and tells
how it ended.
"""

from __future__ import annotations

import atexit
import functools
import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

from dualjoe_jobs import memory_export

# Without the module socket, which takes longer to import than all else here together.
CALL = """
import os, sys
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_SEQPACKET, SOL_SOCKET, socket
name, *words = sys.argv[1:]
words += os.environ["SSH_ORIGINAL_COMMAND"], os.environ["PATH"]
server = socket(AF_UNIX, SOCK_SEQPACKET)
server.connect("\\0" + name)
files = b"".join(number.to_bytes(4, sys.byteorder) for number in range(3))
server.sendmsg(["\\0".join(words).encode("utf-8", "surrogateescape")], [(SOL_SOCKET, SCM_RIGHTS, files)])
sys.exit(server.recv(1)[0])
"""
_MESSAGE_BYTES = 1 << 16
_LOG = logging.getLogger(__name__)


@functools.cache
def name() -> str:
    """Where it listens. Started by the first call, ended with this process."""
    chosen = f"dualjoe-tests-{os.getpid()}"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    started = subprocess.Popen(
        [sys.executable, __file__, chosen], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    atexit.register(started.communicate)
    assert started.stdout is not None
    assert started.stdout.readline(), "it listens"
    return chosen


def main() -> None:
    """Answer calls until standard input is closed."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.bind(f"\0{sys.argv[1]}")
        server.listen()
        print("ready", flush=True)
        while server.fileno() in select.select([server.fileno(), 0], [], [])[0]:
            call, _ = server.accept()
            if os.fork() == 0:
                _answer(call)
            call.close()


def _answer(call: socket.socket) -> None:
    """In a process of its own: have another one serve, which may become rrsync, and tell how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    message, files, *_ = socket.recv_fds(call, _MESSAGE_BYTES, 3)
    serving = os.fork()
    if serving == 0:
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        os._exit(_serve(*os.fsdecode(message).split("\0")))
    for number in (*range(3), *files):  # they are the served one's, who must be seen to close them
        os.close(number)
    _, status = os.waitpid(serving, 0)
    call.send(bytes([os.waitstatus_to_exitcode(status) % 256]))
    os._exit(0)


def _serve(settings: str, root: str, said: str, command: str, path: str) -> int:
    os.environ.update(SSH_ORIGINAL_COMMAND=command, PATH=path)
    try:
        return memory_export.serve(Path(settings), Path(root), lambda: json.loads(Path(said).read_text()))
    except Exception:  # noqa: BLE001 whatever it was, the caller is told
        _LOG.exception("%s was not answered", command)
        return 1


if __name__ == "__main__":
    main()
