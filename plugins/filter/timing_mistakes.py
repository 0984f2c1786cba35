"""Is the timing that the inventory asks for safe?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.dualjoe.ha.plugins.module_utils.dualjoe.timing import Timing, mistakes

DOCUMENTATION = """
name: timing_mistakes
short_description: Check the timing of leases before anything is provisioned
version_added: 1.0.0
description:
  - Compares the variables of roles watchdog, guard and openclaw that must fit together.
  - A variable that is not set counts with its default. One that machines set differently is a mistake.
positional: _input
options:
  _input:
    description: The variables of each machine of the pair, for instance from C(hostvars).
    type: list
    elements: dict
    required: true
author: The Dual-Joe authors
"""

EXAMPLES = """
- name: Refuse a timing that could let two gateways run
  ansible.builtin.assert:
    that: groups['pair'] | map('extract', hostvars) | dualjoe.ha.timing_mistakes | length == 0
"""

RETURN = """
_value:
  description: One message per mistake; empty when the timing is safe.
  type: list
  elements: str
"""

VARIABLES = {
    "heartbeat": "watchdog_heartbeat_seconds",
    "full_check": "watchdog_full_check_seconds",
    "ttl": "watchdog_ttl_seconds",
    "margin": "watchdog_margin_seconds",
    "retry": "watchdog_retry_seconds",
    "confirm_checks": "watchdog_confirm_checks",
    "verb_timeout": "watchdog_verb_timeout_seconds",
    "stop": "guard_stop_seconds",
    "guard_watchdog": "guard_watchdog_seconds",
    "slack": "guard_slack_seconds",
}
# The unit's own limit for a stop, which holds when the guard is gone.
UNIT_STOP = "openclaw_stop_seconds"
# A kernel that hangs is reset within this; 0 is no such watchdog.
HARDWARE = "guard_hardware_watchdog_seconds"


def timing_mistakes(machines: Iterable[Mapping[str, Any]]) -> list[str]:
    """Why the timing in the variables of ``machines`` is unsafe; one message per mistake, with the variables' names."""
    machines = list(machines)
    given: dict[str, Any] = {}
    found = []
    for name, variable in {**VARIABLES, "unit_stop": UNIT_STOP, "hardware": HARDWARE}.items():
        values = [variables[variable] for variables in machines if variable in variables]
        try:
            numbers = {float(value) for value in values}
        except (TypeError, ValueError):
            found.append(f"{variable} must be a number, not {values[0]!r}")
            continue
        if len(numbers) > 1:
            found.append(f"{variable} must be the same on all machines, not {', '.join(map(str, sorted(numbers)))}")
        for number in numbers:
            given[name] = number
    if found:
        return found
    unit_stop, hardware = given.pop("unit_stop", None), given.pop("hardware", 0)
    timing = Timing(**given)
    legend = ", ".join(f"{name} = {variable}" for name, variable in VARIABLES.items())
    found = [f"{mistake} ({legend})" for mistake in mistakes(timing)]
    if unit_stop is not None and unit_stop > timing.stop:
        found.append(
            f"{UNIT_STOP} is {unit_stop:g} s, guard_stop_seconds is {timing.stop:g} s: with the guard gone, the gateway"
            " could outlive its lease; lower the first"
        )
    if hardware + timing.slack > timing.margin and hardware > 0:
        found.append(
            f"{HARDWARE} + guard_slack_seconds is {hardware + timing.slack:g} s, watchdog_margin_seconds is"
            f" {timing.margin:g} s: a kernel that hangs could go on after its lease; raise the margin"
        )
    return found


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        return {"timing_mistakes": timing_mistakes}
