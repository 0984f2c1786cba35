#!/usr/bin/python
# Copyright: the Dual-Joe authors
# MIT licence (see LICENSE)
"""Check whether a tree is good memory."""

from __future__ import annotations

DOCUMENTATION = r"""
module: memory_validate
short_description: Check whether a tree is good memory
version_added: 1.0.0
description:
  - Looks for damage in a tree of memory, by the rules that decide whether a fetched copy becomes a generation. Changes nothing.
  - The command C(validate_memory) on the machines does the same.
author:
  - The Dual-Joe authors (@dualjoe)
options:
  path:
    description: The tree, or a single file.
    type: path
    required: true
  previous:
    description: A good tree of an earlier time; what was lost since then counts as well.
    type: path
  shrunk_share:
    description: With O(previous), the share of its bytes that a MEMORY.md may lose.
    type: float
    default: 0.5
  gone_share:
    description: With O(previous), the share of its files that the tree may lose.
    type: float
    default: 0.5
  fail_on_error:
    description: Fail when the memory is bad. Otherwise RV(good) tells. What could not be checked fails in any case.
    type: bool
    default: true
attributes:
  check_mode:
    description: Can run in check mode and return changed status without modifying the target.
    support: full
  diff_mode:
    description: Will return details on what has changed when in diff mode.
    support: none
    details: It changes nothing.
"""

EXAMPLES = r"""
- name: See that the standby could start from what it fetched
  dualjoe.ha.memory_validate:
    path: /var/lib/dualjoe/memory/current

- name: Look at the live memory, and go on
  dualjoe.ha.memory_validate:
    path: /srv/openclaw/workspace
    fail_on_error: false
  register: live
"""

RETURN = r"""
tree:
  description: What was looked at.
  returned: when it could be checked
  type: str
good:
  description: Whether there are no errors.
  returned: always
  type: bool
files:
  description: How many files were looked at.
  returned: when it could be checked
  type: int
bytes:
  description: Their size together.
  returned: when it could be checked
  type: int
errors:
  description: What makes the memory bad.
  returned: when it could be checked
  type: list
  elements: dict
  sample: [{"rule": "nul", "severity": "error", "path": "MEMORY.md", "line": 1, "message": "4096 of 4096 bytes are NUL"}]
warnings_found:
  description: What was noticed and is no error; the keys are those of RV(errors).
  returned: when it could be checked
  type: list
  elements: dict
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dualjoe.ha.plugins.module_utils.dualjoe.validation import CouldNotCheck, Limits, validate


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "previous": {"type": "path"},
            "shrunk_share": {"type": "float", "default": 0.5},
            "gone_share": {"type": "float", "default": 0.5},
            "fail_on_error": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    asked = module.params
    previous = Path(asked["previous"]) if asked["previous"] else None
    try:
        report = validate(Path(asked["path"]), previous, Limits(asked["shrunk_share"], asked["gone_share"]))
    except CouldNotCheck as error:
        module.fail_json(msg=f"could not check: {error}", good=False)
    told: dict[str, Any] = report.as_dict()
    told["warnings_found"] = told.pop("warnings")  # `warnings` is Ansible's own
    if asked["fail_on_error"] and not report.good:
        module.fail_json(msg=f"bad memory in {report.tree}: {report.summary()}", **told)
    module.exit_json(changed=False, **told)


if __name__ == "__main__":
    main()
