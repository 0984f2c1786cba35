#!/usr/bin/python
# Copyright: the Dual-Joe authors
# MIT licence (see LICENSE)
"""Check whether snapshots of T440 are as they were made."""

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_verify
short_description: Check whether snapshots of T440 are as they were made
version_added: 1.0.0
description:
  - Compares a node's snapshots with their catalogs, each catalog by its sum, each file by its presence, size and sum. Changes nothing.
  - The job C(dualjoe backup verify) does the same on a schedule, and repairs what it finds damaged.
author:
  - The Dual-Joe authors (@dualjoe)
options:
  path:
    description: The folder of the snapshots.
    type: path
    default: /var/lib/dualjoe/backups/snapshots
  snapshot:
    description: >-
      Which one, by its name or the begin of it, V(newest), or a time (UTC) as V(2026-11-25 20:00), which means the last one until then; V(all) is all of
      them.
    type: str
    default: newest
  content:
    description: Whether all files are read. Otherwise only their presence and size count, which takes seconds.
    type: bool
    default: true
  fail_on_error:
    description: Fail when anything is damaged. Otherwise RV(good) tells. What could not be checked fails in any case.
    type: bool
    default: true
attributes:
  check_mode:
    description: Can run in check mode and return changed status without modifying the target.
    support: full
  diff_mode:
    description: Will return details on what has changed when in diff mode.
    support: none
"""

EXAMPLES = r"""
- name: See that the newest snapshot is whole
  dualjoe.ha.backup_verify:

- name: Look at all of them quickly, and go on
  dualjoe.ha.backup_verify:
    snapshot: all
    content: false
    fail_on_error: false
  register: looked

- name: Read one of a certain time, before it is restored
  dualjoe.ha.backup_verify:
    snapshot: "2026-11-25 20:00"
"""

RETURN = r"""
msg:
  description: The outcome in one line, with the first damage.
  returned: always
  type: str
  sample: "damaged: 20261125T210000Z/notes/data/saved/notes.sqlite is damaged"
good:
  description: Whether nothing is damaged, missing, or there that does not belong.
  returned: always
  type: bool
snapshots:
  description: What was found in each, oldest first.
  returned: when it could be checked
  type: list
  elements: dict
  contains:
    snapshot:
      description: Its name.
      type: str
    former:
      description: Whether a former version has made it. It cannot be checked then.
      type: bool
    files:
      description: How many files were looked at.
      type: int
    files_read:
      description: How many of them were read.
      type: int
    bytes_read:
      description: Their size together.
      type: int
    damage:
      description: The first thousand things that are wrong, each with the V(path) in the snapshot and V(what) is wrong.
      type: list
      elements: dict
  sample:
    - {"snapshot": "20261125T210000Z", "former": false, "files": 812, "files_read": 812, "bytes_read": 73400320, "damage": []}
"""

from itertools import islice
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dualjoe.ha.plugins.module_utils.dualjoe import dated, snapshot_check, snapshots
from ansible_collections.dualjoe.ha.plugins.module_utils.dualjoe.names import shown
from ansible_collections.dualjoe.ha.plugins.module_utils.dualjoe.snapshot_check import Tally

_ALL = "all"
_MOST = 1000
_TOLD = 5


def _chosen(folder: Path, wanted: str) -> list[Path]:
    """Raises SnapshotError, also where none of them can be checked."""
    if wanted == _ALL:
        found = sorted(path for path in folder.glob("*") if dated.is_name(path.name))
    else:
        found = [snapshots.find(folder, wanted)]
    if not found:
        raise snapshots.SnapshotError(f"there is no snapshot in {folder}")
    if all(map(snapshots.is_old, found)):
        raise snapshots.SnapshotError(f"{found[-1].name} was made by a former version, which kept no catalogs")
    return found


def _look(place: Path, content: bool) -> dict[str, Any]:
    """What is wrong with one."""
    tally, damage = Tally(), []
    former = snapshots.is_old(place)
    if not former:
        wanted = snapshot_check.everything if content else lambda _path, _entry, _status: False
        found = islice(snapshot_check.check(place, wanted, tally), _MOST)
        damage = [{"path": shown(each.path), "what": each.what} for each in found]
    return {"snapshot": place.name, "former": former, **vars(tally), "damage": damage}


def _in_short(looked: list[dict[str, Any]]) -> str:
    bad = [f"{one['snapshot']}/{each['path']} {each['what']}" for one in looked for each in one["damage"]]
    if bad:
        more = f" and {len(bad) - _TOLD} more" if len(bad) > _TOLD else ""
        return f"damaged: {', '.join(bad[:_TOLD])}{more}"
    former = sum(one["former"] for one in looked)
    files, read = (sum(one[what] for one in looked) for what in ("files", "files_read"))
    told = f"good: {len(looked) - former} snapshots with {files} files, of which {read} were read"
    return f"{told}; {former} of a former version cannot be checked" if former else told


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "default": "/var/lib/dualjoe/backups/snapshots"},
            "snapshot": {"type": "str", "default": snapshots.NEWEST},
            "content": {"type": "bool", "default": True},
            "fail_on_error": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    asked = module.params
    try:
        looked = [_look(place, asked["content"]) for place in _chosen(Path(asked["path"]), asked["snapshot"])]
    except (snapshots.SnapshotError, OSError) as error:
        module.fail_json(msg=f"could not check: {error}", good=False)
    told = {
        "good": not any(one["damage"] for one in looked),
        "msg": _in_short(looked),
        "snapshots": looked,
    }
    if asked["fail_on_error"] and not told["good"]:
        module.fail_json(**told)
    module.exit_json(changed=False, **told)


if __name__ == "__main__":
    main()
