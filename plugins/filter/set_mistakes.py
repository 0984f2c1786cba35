"""Do the sets of memory that the inventory asks for stay out of each other's way?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.dualjoe.ha.plugins.module_utils.dualjoe.selection import Selection, overlaps

DOCUMENTATION = """
name: set_mistakes
short_description: Check that no two sets of memory may have the same file
version_added: 1.0.0
description:
  - A file in two sets would be removed from one when the other does not have it.
  - Checks the patterns of each set as well.
positional: _input
options:
  _input:
    description: The sets, as C(memory_sync_sets) has them.
    type: list
    elements: dict
    required: true
author: The Dual-Joe authors
"""

EXAMPLES = """
- name: Refuse sets that may have the same file
  ansible.builtin.assert:
    that: memory_sync_sets | dualjoe.ha.set_mistakes | length == 0
"""

RETURN = """
_value:
  description: One message per mistake; empty when all is well.
  type: list
  elements: str
"""


def set_mistakes(sets: Iterable[Mapping[str, Any]]) -> list[str]:
    """What is wrong with the patterns and places of ``sets``; one message per mistake."""
    placed, found = [], []
    for each in sets:
        try:
            choice = Selection(list(map(str, each["include"])), list(map(str, each.get("exclude") or [])))
        except ValueError as error:
            found.append(f"set {each['name']}: {error}")
        else:
            placed.append((str(each["name"]), str(each["path"]), choice))
    return found or overlaps(placed)


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        return {"set_mistakes": set_mistakes}
