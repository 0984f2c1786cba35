"""Which configuration should the gateway have, if the inventory asks for another one than before?"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from ansible_collections.dualjoe.ha.plugins.module_utils.dualjoe.configuration import carried_over

DOCUMENTATION = """
name: config_carried_over
short_description: The gateway's configuration with what the inventory has changed
version_added: 1.0.0
description:
  - Carries what has changed between the configuration that was applied last and the one that is asked for over into the
    one that is there. What else was set in that one stays.
  - Where one of the two cannot be read, the result is what is asked for.
positional: _input, live, applied
options:
  _input:
    description: The configuration that is asked for.
    type: dict
    required: true
  live:
    description: The one that is there, as JSON5 in Base64, as M(ansible.builtin.slurp) returns it; or an empty text.
    type: str
    required: true
  applied:
    description: The one that was applied last, in the same form.
    type: str
    required: true
author: The Dual-Joe authors
"""

EXAMPLES = """
- name: Work out what the gateway should have
  ansible.builtin.set_fact:
    wanted: "{{ asked | dualjoe.ha.config_carried_over(live.content, applied.content) }}"
"""

RETURN = """
_value:
  description: The configuration to write.
  type: dict
"""


def config_carried_over(asked: Mapping[str, Any], live: str, applied: str) -> dict[str, Any]:
    """``asked`` for, carried over from ``applied`` into ``live``; both are Base64."""
    return carried_over(base64.b64decode(live), base64.b64decode(applied), asked)


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        return {"config_carried_over": config_carried_over}
