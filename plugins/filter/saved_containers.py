"""Of which containers is anything saved?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

DOCUMENTATION = """
name: saved_containers
short_description: The containers that a backup keeps anything of
version_added: 1.0.0
description:
  - Leaves out those with the hook V(none) that name neither volumes nor binds nor compose files.
  - Backups are scheduled, and missed, where one is left.
positional: _input
options:
  _input:
    description: The containers, as C(containers_list) has them.
    type: list
    elements: dict
    required: true
author: The Dual-Joe authors
"""

EXAMPLES = """
- name: Say what is saved
  ansible.builtin.debug:
    msg: "{{ containers_list | dualjoe.ha.saved_containers | map(attribute='name') }}"
"""

RETURN = """
_value:
  description: The entries of those containers, as they were given.
  type: list
  elements: dict
"""

_BESIDES = frozenset({"volumes", "binds", "compose"})


def saved_containers(containers: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those of ``containers`` of which something is kept."""
    return [item for item in containers if item["backup"]["hook"] != "none" or _BESIDES & item["backup"].keys()]


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        return {"saved_containers": saved_containers}
