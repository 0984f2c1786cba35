"""Whether this machine's rsync and rrsync do what the jobs rely on. Run at provisioning, in a scratch folder.

rsync: a list of names apart by zeros, names with line ends in them, an older copy as a base, and that what is asked for
is sent although size and time are the same. rrsync: read only, and nothing outside its folder.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from dualjoe.retention import Policy

from . import manifest, rsync
from .copies import Copies
from .job import JobFailed, utc_now
from .pull import Puller, Settings
from .rsync import Deadline

_OLDEST = (3, 2)
_SECONDS = 60.0
_NAMES = ("plain.md", "folder/line\nend.md", "folder/-dash * 'quote'.md")


def check_version(said: str) -> None:
    """Raise JobFailed unless this output of `rsync --version` is of a version that the jobs know."""
    found = re.match(r"rsync +version v?(\d+)\.(\d+)", said)
    if found is None or tuple(map(int, found.groups())) < _OLDEST:
        what = said.partition("\n")[0].strip() or "nothing"
        raise JobFailed(f"rsync must be of version 3.2 or newer, and says '{what}'; install a newer one")


def check(place: Path) -> None:
    """Fetch from an export in ``place``, an empty folder, through rrsync, as the jobs do. Raises JobFailed."""
    deadline = Deadline(_SECONDS)
    check_version(rsync.run(["rsync", "--version"], deadline).stdout.decode("utf-8", "replace"))
    export, current, outside = place / "export", place / "copies" / "current", place / "outside.md"
    outside.write_text("not for the other side\n", "utf-8")
    for tree, text in ((export, "this is new\n"), (current, "this is old\n")):
        for name in _NAMES:
            path = tree / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
            os.utime(path, (0, 0))
    manifest.measure(export, utc_now()).write(export)
    script = place / "door.sh"  # in the place of ssh and the forced command
    script.write_text(
        'while [ "$1" = -l ] || [ "$1" = -o ]; do shift 2; done\n'
        "shift\n"
        'export SSH_ORIGINAL_COMMAND="$*"\n'
        f"exec rrsync -ro -no-lock {shlex.quote(str(export))}\n",
        "utf-8",
    )
    door = ["sh", str(script)]  # where scratch folders are, nothing may be executed on some machines
    puller = Puller(Settings(Policy(1), _SECONDS, "other", door), Copies(place / "copies", "all"), deadline)
    puller.copies.open()
    puller.fetch()
    _check_refused(["other:../outside.md", f"{place}/got"], door, deadline)
    _check_refused([f"other:{outside}", f"{place}/got"], door, deadline)
    _check_refused([str(outside), "other:"], door, deadline)
    if (place / "got").exists() or (export / outside.name).exists():
        raise JobFailed("rrsync lets the other side leave its folder, or write to it; install a newer rsync")


def _check_refused(paths: Sequence[str], door: Sequence[str], deadline: Deadline) -> None:
    if rsync.run(["rsync", f"--rsh={' '.join(door)}", *paths], deadline).returncode == 0:
        raise JobFailed(f"rrsync did not refuse to copy {' to '.join(paths)}; install a newer rsync")


def main() -> int:
    """Say what is wrong. Exit codes: 0 all is well, 1 it is not."""
    with tempfile.TemporaryDirectory(prefix="dualjoe-rsync-") as place:
        try:
            check(Path(place))
        except (JobFailed, OSError) as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
