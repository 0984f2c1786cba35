#!/usr/bin/python
# Copyright: the Dual-Joe authors
# MIT licence (see LICENSE)
"""Have a folder hold exactly the given text files."""

from __future__ import annotations

DOCUMENTATION = r"""
module: code_folder
short_description: Have a folder hold exactly the given text files
version_added: 1.0.0
description:
  - Brings all files of a folder in one step, and takes away those that a newer version no longer has. A module that was
    removed or renamed could be imported further otherwise.
  - All new files are written beside the old ones before the first takes its name. When that fails, for instance on a full
    disk, the folder stays as it was.
  - Other folders inside stay, C(__pycache__) as well, but for what it holds of removed modules.
author:
  - The Dual-Joe authors (@dualjoe)
options:
  path:
    description: The folder. It is made, with mode 0755, when it is missing; the one above it must be there.
    type: path
    required: true
  files:
    description: The text of each file, by its name. At least one.
    type: dict
    required: true
  exclusive:
    description: Remove files and links that O(files) does not name.
    type: bool
    default: true
  owner:
    description: Whose the folder and the files are.
    type: str
    default: root
  group:
    description: Their group.
    type: str
    default: root
  mode:
    description: The mode of the files; V(0755) for programs.
    type: str
    choices: ["0644", "0755"]
    default: "0644"
attributes:
  check_mode:
    description: Can run in check mode and return changed status without modifying the target.
    support: full
  diff_mode:
    description: Will return details on what has changed when in diff mode.
    support: full
notes:
  - Ansible has the target log each module's options. The variable C(ansible_no_target_syslog) keeps the texts out of its journal.
"""

EXAMPLES = r"""
- name: Install the package
  dualjoe.ha.code_folder:
    path: /usr/local/lib/dualjoe/dualjoe_guard
    files: "{{ lookup('dualjoe.ha.text_files', 'dualjoe_guard/*.py') }}"
  vars:
    ansible_no_target_syslog: true
"""

RETURN = r"""
added:
  description: The names of the files that were missing.
  returned: success
  type: list
  elements: str
altered:
  description: The names of the files that had another text, owner, group or mode, or were links.
  returned: success
  type: list
  elements: str
removed:
  description: The names of the files that O(files) does not have.
  returned: success
  type: list
  elements: str
  sample: [moves.py]
"""

import grp
import os
import pwd
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ansible.module_utils.basic import AnsibleModule

FOLDER_MODE = 0o755


class Refused(Exception):
    """What is asked for makes no sense, or something else stands where the files would go."""


class Access(NamedTuple):
    """Whose a file is, and what they may do with it."""

    uid: int
    gid: int
    mode: int

    def __str__(self) -> str:
        return f"uid {self.uid}, gid {self.gid}, mode {self.mode:04o}\n"


class Changes(NamedTuple):
    """Names, sorted."""

    added: list[str]
    altered: list[str]
    removed: list[str]


def access_of(path: Path) -> Access:
    found = path.lstat()
    return Access(found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode))


def content_of(path: Path) -> bytes | None:
    """None: not a regular file."""
    return path.read_bytes() if path.is_file() and not path.is_symlink() else None


def check(folder: Path, files: Mapping[str, Any]) -> None:
    """Raises Refused."""
    if not files:
        raise Refused("files is empty: nothing would be left of the folder")
    for name, text in files.items():
        if name in {"", ".", ".."} or "/" in name or "\0" in name:
            raise Refused(f"{name!r} is not the name of a file")
        if not isinstance(text, str):
            raise Refused(f"what {name} shall hold is not text")
        if (folder / name).is_dir() and not (folder / name).is_symlink():
            raise Refused(f"{folder / name} is a folder, not a file")
    if folder.is_symlink():
        raise Refused(f"{folder} is a link, not a folder")
    if folder.exists() and not folder.is_dir():
        raise Refused(f"{folder} is not a folder")


def compare(folder: Path, files: Mapping[str, str], access: Access, exclusive: bool) -> Changes:
    """What is to be done in a folder, which may be missing."""
    there = (
        {path.name for path in folder.iterdir() if path.is_file() or path.is_symlink()} if folder.exists() else set()
    )
    kept = there & set(files)
    altered = [
        name for name in kept if content_of(folder / name) != files[name].encode() or access_of(folder / name) != access
    ]
    removed = there - set(files) if exclusive else set()
    return Changes(sorted(set(files) - there), sorted(altered), sorted(removed))


def describe(folder: Path, files: Mapping[str, str], access: Access, changes: Changes) -> list[dict[str, str]]:
    """The differences as Ansible shows them, one file each. Made before anything is written."""
    shown = []
    for name in sorted(changes.added + changes.altered + changes.removed):
        path = folder / name
        if path.is_symlink():
            before = f"link to {path.readlink()}\n"
        else:
            before = "" if name in changes.added else path.read_bytes().decode(errors="replace")
        after = files.get(name, "")
        if name in changes.altered and before == after:
            before, after = str(access_of(path)), str(access)
        missing = "/dev/null"
        shown.append(
            {
                "before_header": missing if name in changes.added else str(path),
                "after_header": missing if name in changes.removed else str(path),
                "before": before,
                "after": after,
            }
        )
    return shown


def write(folder: Path, files: Mapping[str, str], access: Access, changes: Changes) -> None:
    """Do it. Until all new files are on the disk, nothing is changed. Raises OSError."""
    made = not folder.exists()
    ready: dict[str, str] = {}
    try:
        if made:
            folder.mkdir()
        for name in changes.added + changes.altered:
            descriptor, ready[name] = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
            with os.fdopen(descriptor, "wb") as file:
                os.fchown(descriptor, access.uid, access.gid)
                os.fchmod(descriptor, access.mode)
                file.write(files[name].encode())
                file.flush()
                os.fsync(descriptor)  # a power cut must not leave an empty module
        os.chown(folder, access.uid, access.gid)
        folder.chmod(FOLDER_MODE)
        for name in list(ready):
            os.replace(ready[name], folder / name)
            del ready[name]
        for name in changes.removed:
            remove(folder / name)
    finally:
        for left in ready.values():
            Path(left).unlink()
        if made and folder.is_dir() and not os.listdir(folder):
            folder.rmdir()


def remove(path: Path) -> None:
    """A file, and what Python has compiled of it."""
    path.unlink()
    cache = path.with_name("__pycache__")
    if path.suffix == ".py" and cache.is_dir() and not cache.is_symlink():
        for compiled in cache.iterdir():
            if compiled.suffix == ".pyc" and compiled.name.startswith(f"{path.stem}."):
                compiled.unlink()


def ids(owner: str, group: str) -> tuple[int, int]:
    """Their numbers. Raises Refused."""
    try:
        return pwd.getpwnam(owner).pw_uid, grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise Refused(f"no such user or group: {error.args[0]}") from None


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "files": {"type": "dict", "required": True},
            "exclusive": {"type": "bool", "default": True},
            "owner": {"type": "str", "default": "root"},
            "group": {"type": "str", "default": "root"},
            "mode": {"type": "str", "choices": ["0644", "0755"], "default": "0644"},
        },
        supports_check_mode=True,
    )
    asked = module.params
    folder, files = Path(asked["path"]), asked["files"]
    # Without the texts, which Ansible would send back otherwise.
    told: dict[str, Any] = {"invocation": {"module_args": {**asked, "files": sorted(files)}}}
    try:
        check(folder, files)
        access = Access(*ids(asked["owner"], asked["group"]), mode=int(asked["mode"], 8))
        wanted = access._replace(mode=FOLDER_MODE)
        found = access_of(folder) if folder.exists() else None
        changes = compare(folder, files, access, asked["exclusive"])
        if module._diff:  # noqa: SLF001 Ansible has no public name for it
            told["diff"] = describe(folder, files, access, changes)
            if found != wanted:
                header = {"before_header": str(folder), "after_header": str(folder)}
                told["diff"].insert(0, {**header, "before": str(found or ""), "after": str(wanted)})
        changed = found != wanted or any(changes)
        if changed and not module.check_mode:
            write(folder, files, access, changes)
    except Refused as error:
        module.fail_json(msg=str(error), **told)
    except OSError as error:
        module.fail_json(msg=f"could not write {folder}: {error}", **told)
    module.exit_json(changed=changed, **changes._asdict(), **told)


if __name__ == "__main__":
    main()
