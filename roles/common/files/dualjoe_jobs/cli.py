"""The command `dualjoe` of the nodes, and the forced command `dualjoe-export`: each hands over to one module.

Only that module is loaded: a planned move waits for five of these starts.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module

from .job import FAILED, JobFailed

Command = Callable[[Sequence[str]], int]


def _main_of(module: str) -> Command:
    return lambda argv: int(import_module(f".{module}", __package__).main(argv))


def _serve_of(module: str) -> Command:
    return lambda _argv: int(import_module(f".{module}", __package__).serve())


MEMORY: Mapping[str, tuple[Command, str]] = {
    "list": (_main_of("memory_list"), "the generations on this node, and what was put aside"),
    "diff": (_main_of("memory_diff"), "what differs between two of them, or one and the live memory"),
    "restore": (_main_of("memory_restore"), "bring back one, or files of it"),
    "divergence": (_main_of("memory_divergence"), "what was written on both nodes, and what becomes of it"),
    "follow": (_main_of("memory_follow"), "fetch the active node's memory whenever it changes (a service)"),
    "publish": (_main_of("memory_publish"), "bring the newest good generation into the gateway's memory"),
}


CONFIG: Mapping[str, tuple[Command, str]] = {
    "check": (_main_of("config_check"), "is it good? A good one is kept as the last good version"),
    "list": (_main_of("config_list"), "the good versions, and what a rollback put aside"),
    "diff": (_main_of("config_diff"), "what has changed since the last good version"),
    "rollback": (_main_of("config_rollback"), "bring a good version back"),
}

BACKUP: Mapping[str, tuple[Command, str]] = {
    "run": (_main_of("backup"), "fetch a snapshot of T440's data now; so does the bare command"),
    "ls": (_main_of("backup_ls"), "the snapshots on this node, or what is in one"),
    "diff": (_main_of("backup_diff"), "what has changed between two of them"),
    "get": (_main_of("backup_get"), "bring a file or folder out of one"),
    "verify": (_main_of("backup_verify"), "are they as they were made? What is damaged is repaired"),
    "offsite": (_main_of("backup_offsite"), "send the newest good snapshot to the repository of backup_offsite"),
}


EPOCH: Mapping[str, tuple[Command, str]] = {
    "reset": (_main_of("epoch_reset"), "go on after this node's epoch file was lost or broken"),
}


def _hand_over(prog: str, commands: Mapping[str, tuple[Command, str]], argv: Sequence[str] | None) -> int:
    """Run the command that ``argv`` begins with."""
    width = max(map(len, commands))
    parser = argparse.ArgumentParser(
        prog=prog,
        usage=f"{prog} COMMAND [--help] ...",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="commands:\n" + "\n".join(f"  {name:{width}}  {text}" for name, (_, text) in commands.items()),
    )
    parser.add_argument("command", choices=commands, metavar="COMMAND", help=argparse.SUPPRESS)
    words = list(sys.argv[1:] if argv is None else argv)
    chosen = parser.parse_args(words[:1]).command
    try:
        return commands[chosen][0](words[1:])
    except (JobFailed, OSError) as error:
        print(f"{prog} {chosen}: {error}", file=sys.stderr)
        return FAILED


def memory(argv: Sequence[str]) -> int:
    """`dualjoe memory`."""
    return _hand_over("dualjoe memory", MEMORY, argv)


def backup(argv: Sequence[str]) -> int:
    """`dualjoe backup`; without a command it is `run`, with that one's options."""
    is_bare = not argv or (argv[0].startswith("-") and argv[0] not in ("-h", "--help"))
    return _hand_over("dualjoe backup", BACKUP, ["run", *argv] if is_bare else argv)


def config(argv: Sequence[str]) -> int:
    """`dualjoe config`."""
    return _hand_over("dualjoe config", CONFIG, argv)


def epoch(argv: Sequence[str]) -> int:
    """`dualjoe epoch`."""
    return _hand_over("dualjoe epoch", EPOCH, argv)


COMMANDS: Mapping[str, tuple[Command, str]] = {
    "status": (_main_of("status"), "how this node is"),
    "sync": (_main_of("memory_sync"), "fetch the active node's memory now"),
    "backup": (backup, "fetch a snapshot of T440's data, look into those there are, and verify them"),
    "rehearse": (_main_of("rehearsal"), "see that Joe would start here from the last good generation"),
    "memory": (memory, "look into the generations of memory, and bring them back"),
    "config": (config, "check the gateway's configuration, or bring a good version back"),
    "epoch": (epoch, "go on after this node's epoch file was lost or broken"),
}

EXPORTS: Mapping[str, tuple[Command, str]] = {
    "backup": (_serve_of("backup_prepare"), "T440's data, for a node's backup key"),
    "memory": (_serve_of("memory_export"), "this node's memory, for the other's memory key"),
    "snapshots": (_serve_of("snapshots_export"), "this node's snapshots, for T440's restores and the other's repairs"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """`dualjoe`."""
    return _hand_over("dualjoe", COMMANDS, argv)


def export(argv: Sequence[str] | None = None) -> int:
    """`dualjoe-export`, which says by SSH_ORIGINAL_COMMAND what the other side wants."""
    return _hand_over("dualjoe-export", EXPORTS, argv)
