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
  - The command C(validate_memory) on the machines does the same; C(validate_memory --help) lists the rules.
author:
  - The Dual-Joe authors (@dualjoe)
options:
  path:
    description: The tree, or a single file. Of the live folder of a set of the node's, that is looked at which a sync would copy.
    type: path
    required: true
  previous:
    description: A good tree of an earlier time; what was lost since then counts as well.
    type: path
  settings:
    description: >-
      A file with the policy, in JSON: a node's settings, or any of the keys C(rules), C(limits), C(schema) and C(foreign). By default
      C(/etc/dualjoe/memory.json), which role memory_sync writes; where that is not there, what is built in.
    type: path
  rules:
    description: How bad what a rule finds is, C(error), C(warning) or C(off), for some rules; goes before O(settings).
    type: dict
  limits:
    description: >-
      Shares that may be lost since O(previous), in place of those in O(settings): C(shrunk_share) of a key file's bytes, C(gone_share) of the files,
      C(rows_share) of the rows of most tables. What is not given is 0.5.
    type: dict
  schema:
    description: Key files, in place of those in O(settings); a list as C(memory_sync_schema).
    type: list
    elements: dict
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
    support: full
    details: With O(previous), the files that were added, removed or changed since. The module itself changes nothing.
"""

EXAMPLES = r"""
- name: See that the standby could start from what it fetched
  dualjoe.ha.memory_validate:
    path: /var/lib/dualjoe/memory/current

- name: Look at the live memory, compare it with the last good one, and go on
  dualjoe.ha.memory_validate:
    path: /srv/openclaw/workspace
    previous: /var/lib/dualjoe/memory/current/workspace
    fail_on_error: false
  diff: true
  register: live

- name: Ask for more than usual
  dualjoe.ha.memory_validate:
    path: /var/lib/dualjoe/memory/current
    rules: {front_matter: error, blank: "off"}
    schema:
      - path: workspace/USER.md
        required: true
        headings: ["## People"]
"""

RETURN = r"""
msg:
  description: The outcome in one line, with the first errors and warnings.
  returned: always
  type: str
  sample: "bad memory in /var/lib/dualjoe/memory/current: workspace/MEMORY.md:1: 4096 of 4096 bytes are NUL (nul)"
tree:
  description: What was looked at.
  returned: when it could be checked
  type: str
  sample: /var/lib/dualjoe/memory/current
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
  contains: &finding
    rule:
      description: The rule that found it.
      type: str
    severity:
      description: V(error) or V(warning).
      type: str
    path:
      description: The file, or V(.) for the whole.
      type: str
    line:
      description: The line, from 1; 0 for a whole file.
      type: int
    message:
      description: What is wrong.
      type: str
  sample: [{"rule": "nul", "severity": "error", "path": "MEMORY.md", "line": 1, "message": "4096 of 4096 bytes are NUL"}]
warnings_found:
  description: What was noticed and is no error.
  returned: when it could be checked
  type: list
  elements: dict
  contains: *finding
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dualjoe.ha.plugins.module_utils.dualjoe.memory_settings import NODE, MemorySettings
from ansible_collections.dualjoe.ha.plugins.module_utils.dualjoe.rules import Policy
from ansible_collections.dualjoe.ha.plugins.module_utils.dualjoe.trees import Tree, changes
from ansible_collections.dualjoe.ha.plugins.module_utils.dualjoe.validation import CouldNotCheck, in_short, validate


def _settings(asked: dict[str, Any]) -> MemorySettings:
    """What the file says, with what the task says. Raises OSError and ValueError."""
    place = asked["settings"] or (str(NODE) if NODE.exists() else None)
    found = MemorySettings.load(Path(place)) if place else MemorySettings()
    given = {name: asked[name] for name in ("rules", "limits", "schema") if asked[name] is not None}
    wanted = Policy.parse(given)
    policy = replace(found.policy, **{name: getattr(wanted, name) for name in given})
    return replace(found, policy=replace(policy, rules={**found.policy.rules, **wanted.rules}))


def _diff(now: Tree, before: Tree) -> dict[str, str]:
    """The files that differ, for people."""
    added, removed, changed = changes(now, before)
    return {
        "before_header": before.root,
        "after_header": now.root,
        "before": "".join(f"{line}\n" for line in sorted([*removed, *(f"{name} (before)" for name in changed)])),
        "after": "".join(f"{line}\n" for line in sorted([*added, *(f"{name} (changed)" for name in changed)])),
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "previous": {"type": "path"},
            "settings": {"type": "path"},
            "rules": {"type": "dict"},
            "limits": {"type": "dict"},
            "schema": {"type": "list", "elements": "dict"},
            "fail_on_error": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    asked = module.params
    try:
        settings = _settings(asked)
        tree = settings.tree(Path(asked["path"]))
        previous = settings.beside(Path(asked["previous"]), tree) if asked["previous"] else None
        report = validate(tree, previous, settings.policy)
        diff = _diff(tree, previous) if previous and module._diff else None  # noqa: SLF001 Ansible offers no other way
    except (CouldNotCheck, OSError, ValueError) as error:
        module.fail_json(msg=f"could not check: {error}", good=False)
    told: dict[str, Any] = report.as_dict()
    told["warnings_found"] = told.pop("warnings")  # `warnings` is Ansible's own
    size = f"{report.files} files, {report.bytes} bytes in {report.tree}"
    looked = f"good: {size}" if report.good else f"bad memory in {report.tree}: {report.summary()}"
    told["msg"] = f"{looked}; to look at: {in_short(report.warnings)}" if report.warnings else looked
    if diff is not None:
        told["diff"] = diff
    if asked["fail_on_error"] and not report.good:
        module.fail_json(**told)
    module.exit_json(changed=False, **told)


if __name__ == "__main__":
    main()
