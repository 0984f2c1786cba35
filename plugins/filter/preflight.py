"""All that is wrong with the inventory, the variables and the machines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleError
from ansible_collections.dualjoe.ha.plugins.filter.argument_mistakes import argument_mistakes
from ansible_collections.dualjoe.ha.plugins.filter.timing_mistakes import timing_mistakes
from ansible_collections.dualjoe.ha.plugins.module_utils.dualjoe import preflight
from ansible_collections.dualjoe.ha.plugins.module_utils.dualjoe.preflight import INVENTORY, Finding, Machine

DOCUMENTATION = """
name: preflight
short_description: All that is wrong with the inventory, the variables and the machines
version_added: 1.2.0
description:
  - Looks at C(hostvars) of all machines of the pair, at the argument specs of the roles that each gets, and at what
    C(playbooks/files/look.sh) said of those that were asked.
positional: _input, groups, plays, roles
options:
  _input:
    description: C(hostvars).
    type: dict
    required: true
  groups:
    description: C(groups).
    type: dict
    required: true
  plays:
    description: The plays of C(site.yml) that have roles; C(hosts) is the group that gets them.
    type: list
    elements: dict
    required: true
  roles:
    description: The folder of the roles.
    type: path
    required: true
author: The Dual-Joe authors
"""

EXAMPLES = """
- name: Show what is wrong
  ansible.builtin.debug:
    msg: "{{ (hostvars | dualjoe.ha.preflight(groups, plays, roles)).table }}"
"""

RETURN = """
wrong:
  description: How many things are wrong.
  type: int
table:
  description: Where, what, why, and what to do; for people. It has what is not wrong, but should be known, as well.
  type: str
"""

REFERENCE = "set it in inventory/group_vars or for the host; docs/reference.md describes it"


def findings(
    hostvars: Mapping[str, Any], groups: Mapping[str, Sequence[str]], plays: Iterable[Mapping[str, Any]], roles: str
) -> list[Finding]:
    """All findings, in the order in which they are worth to be read."""
    found = preflight.of_groups(groups)
    if found:
        return found
    machines = [_machine(name, hostvars[name], name in groups["nodes"]) for name in groups["pair"]]
    found += preflight.of_addresses(machines)
    found += [
        Finding(INVENTORY, "timing", each, REFERENCE) for each in timing_mistakes([hostvars[m.name] for m in machines])
    ]
    looks = {}
    for machine in machines:
        variables = hostvars[machine.name]
        of_host = [play for play in plays if machine.name in groups.get(play["hosts"], ())]
        names = [each["role"].rsplit(".", 1)[-1] for play in of_host for each in play.get("roles", ())]
        found += _of_variables(machine.name, variables, names, Path(roles))
        if "__preflight_look" in variables:
            seen, facts = _of_look(machine, variables)
            found += seen
            if facts:
                looks[machine.name] = facts
    return found + preflight.of_identities(machines, looks)


def report(
    hostvars: Mapping[str, Any], groups: Mapping[str, Sequence[str]], plays: Iterable[Mapping[str, Any]], roles: str
) -> dict[str, Any]:
    """The findings for people, and how many of them are wrong."""
    found = findings(hostvars, groups, plays, roles)
    return {"wrong": sum(each.wrong for each in found), "table": "\n".join(preflight.table(found))}


def _machine(name: str, variables: Mapping[str, Any], node: bool) -> Machine:
    reached = _value(variables, "ansible_host", name)
    try:
        port = int(_value(variables, "openclaw_port", 18789) if node else _value(variables, "web_port", 8440))
    except ValueError:  # told of as a mistake in the variable
        port = 0
    return Machine(
        name, node, _value(variables, "common_address", reached), _value(variables, "ansible_user", ""), port
    )


def _of_variables(name: str, variables: Mapping[str, Any], names: Iterable[str], folder: Path) -> list[Finding]:
    """Mistakes in the variables of a machine: by the argument specs of its roles, and by their own requirements."""
    specs = {path.parents[1].name: path for path in folder.glob("*/meta/argument_specs.yml")}
    known = {role: _options(path) for role, path in specs.items()}
    found = [
        Finding(name, option, mistake, REFERENCE)
        for role in names
        for option, mistake in _by_option(known[role], argument_mistakes(variables, known[role]))
    ]
    refused = _value(variables, "ansible_facts", {}).get("dualjoe_refused", ())
    found += [
        Finding(name, f"role {each['role']}", str(each["why"]), REFERENCE)
        if each["role"]
        else Finding(name, "a look", str(each["why"]), "see what that task says above")
        for each in refused
    ]
    every = {option for options in known.values() for option in options}
    do = "correct its name, or take it away"
    return found + [Finding(name, option, why, do) for option, why in preflight.of_names(variables, every, known)]


def _by_option(options: Iterable[str], mistakes: Iterable[str]) -> Iterable[tuple[str, str]]:
    for mistake in mistakes:
        named = [option for option in options if option in mistake]
        yield (max(named, key=len) if named else "a variable"), mistake


def _options(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"]["main"]["options"]
    return loaded


def _of_look(machine: Machine, variables: Mapping[str, Any]) -> tuple[list[Finding], preflight.Facts]:
    """What is wrong with a machine that was asked, and what it said; nothing where it could not be reached."""
    look = variables["__preflight_look"]
    facts = preflight.facts_of(str(look.get("stdout", "")))
    if look.get("unreachable") or "now" not in facts:
        target = "@".join(filter(None, (machine.user, str(_value(variables, "ansible_host", machine.name)))))
        told = look.get("msg") if look.get("unreachable") else look.get("stderr") or look.get("msg")
        return [preflight.of_login(machine.name, target, str(told or "").removeprefix("Task failed: "))], {}
    before, after = (float(variables[f"_preflight_{moment}"]) for moment in ("before", "after"))
    clock = preflight.of_clock(machine.name, float(facts["now"][0]), before, after)
    return clock + preflight.of_machine(machine, facts), facts


def _value(variables: Mapping[str, Any], name: str, default: Any) -> Any:
    """A variable, or the default where it is not set or cannot be worked out (which is told of elsewhere)."""
    try:
        return variables.get(name, default)
    except AnsibleError:
        return default


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        return {"preflight": report}
