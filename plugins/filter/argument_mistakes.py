"""Do a machine's variables fit a role's argument specs?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

DOCUMENTATION = """
name: argument_mistakes
short_description: Check variables against a role's argument specs before the role runs
version_added: 1.0.0
description:
  - Says in one message each what is missing, of a wrong type or not among the choices.
  - Variables that are not set are not checked, unless the role requires them.
positional: _input, options
options:
  _input:
    description: The variables of one machine, C(hostvars[inventory_hostname]).
    type: dict
    required: true
  options:
    description: The C(options) of an entry point in the role's C(meta/argument_specs.yml).
    type: dict
    required: true
author: The Dual-Joe authors
"""

EXAMPLES = """
- name: Check the variables of a role
  ansible.builtin.assert:
    that: hostvars[inventory_hostname] | dualjoe.ha.argument_mistakes(specs.main.options) | length == 0
"""

RETURN = """
_value:
  description: One message per mistake; empty when all is well.
  type: list
  elements: str
"""


def argument_mistakes(variables: Mapping[str, Any], options: Mapping[str, Any]) -> list[str]:
    """What is wrong with the variables that a role's ``options`` describe."""
    given, found = {}, []
    for name in options:
        try:
            if name in variables:
                given[name] = variables[name]
                str(given[name])  # an undefined part shows itself only when it is used
        except AnsibleError as error:
            given.pop(name, None)
            found.append(f"{name} cannot be worked out: {error.message}")
    unusable = {message.split(" ", 1)[0] for message in found}
    # Defaults may be templates, which only the role itself can work out.
    spec = {
        name: {key: value for key, value in option.items() if key not in {"default", "description", "version_added"}}
        for name, option in options.items()
        if name not in unusable
    }
    return found + list(ArgumentSpecValidator(spec).validate(given).error_messages)


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        return {"argument_mistakes": argument_mistakes}
