"""Refuse what cannot work, or have preflight.yml tell of it together with all else."""

from __future__ import annotations

import importlib
from typing import Any

from ansible.errors import AnsibleError

DOCUMENTATION = """
name: require
short_description: Refuse what cannot work, at once or together with all else that is wrong
version_added: 1.2.0
description:
  - The same as M(ansible.builtin.assert), in the preflight of a role.
  - While C(playbooks/preflight.yml) looks at everything, which it says by C(preflight_collects), a requirement that
    does not hold is noted in the fact C(dualjoe_refused), and the run goes on.
author: The Dual-Joe authors
"""

EXAMPLES = """
- name: Refuse numbers that cannot work
  dualjoe.ha.require:
    that: backup_keep.last > 0
    fail_msg: "backup_keep ({{ backup_keep }}) must say at least 1 for last."
"""

FACT = "dualjoe_refused"

_Assert: Any = importlib.import_module("ansible.plugins.action.assert").ActionModule  # `assert` is a word of Python's


class ActionModule(_Assert):  # type: ignore[misc]
    """Ansible's entry point."""

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        variables = task_vars or {}
        collects = bool(variables.get("preflight_collects"))
        try:
            result: dict[str, Any] = super().run(tmp, variables)
        except AnsibleError as error:  # a variable that is not defined, or that cannot be compared
            if not collects:
                raise
            if variables["__preflight_look"].get("unreachable"):
                return {"changed": False, "msg": "nothing is known of a machine that cannot be reached"}
            result = {"failed": True, "msg": f"{self._task.name}: {error}"}
        if not (result.get("failed") and collects):
            return result
        role = variables.get("role_name", "")
        refused = [*variables["ansible_facts"].get(FACT, []), {"role": role, "why": result["msg"]}]
        return {"changed": False, "msg": "noted", "ansible_facts": {FACT: refused}}
