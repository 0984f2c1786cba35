#!/usr/bin/python
# Copyright: the Dual-Joe authors
# MIT licence (see LICENSE)
"""Ask the watchdog on T440 how the pair is."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pair_info
short_description: Ask the watchdog how the pair is
version_added: 1.0.0
description:
  - Returns what C(dualjoe status --json) and C(dualjoe timeline --json) say on the witness. Changes nothing.
  - Runs on the witness, as root or as a member of group C(dualjoe).
author:
  - The Dual-Joe authors (@dualjoe)
options:
  events:
    description: Also return the newest so many events of the timeline, oldest first.
    type: int
    default: 0
  socket:
    description: The watchdog's control socket.
    type: path
    default: /run/dualjoe/watchdog.sock
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
- name: Ask how the pair is
  dualjoe.ha.pair_info:
    events: 5
  register: pair

- name: See that Joe is at home
  ansible.builtin.assert:
    that: pair.status.holder == groups['primary'] | first
"""

RETURN = r"""
status:
  description: The pair as the watchdog sees it.
  returned: success
  type: dict
  sample: {"pair": "joe", "situation": "home", "holder": "pc-a", "epoch": 7}
  contains:
    pair:
      description: The pair's name.
      type: str
      returned: always
    situation:
      description: A word for what goes on, for programs.
      type: str
      returned: always
    reason:
      description: The same for people.
      type: str
      returned: always
    since:
      description: When this situation began, UTC.
      type: str
      returned: always
    holder:
      description: The node that the lease was granted to last; null when nobody holds it.
      type: str
      returned: always
    epoch:
      description: The highest epoch ever granted.
      type: int
      returned: always
    moving_to:
      description: The node that a move under way goes to, or null.
      type: str
      returned: always
    stays_away:
      description: Whether Joe was moved away from home by hand, so that he does not go home by himself.
      type: bool
      returned: always
    nodes:
      description: For each node its home role, whether it answers, and its last probe.
      type: dict
      returned: always
    troubles:
      description: What stands wrong now, as alerts say it.
      type: list
      elements: str
      returned: always
    alert_channels:
      description: The channels that alerts go to.
      type: list
      elements: str
      returned: always
    alerts_waiting:
      description: Alerts that wait because a channel does not take them.
      type: int
      returned: always
level:
  description: How the pair is, for programs - V(ok), V(warning) or V(critical).
  returned: success
  type: str
  sample: warning
findings:
  description: What is wrong, the worst first.
  returned: success
  type: list
  elements: dict
  sample: [{"level": "warning", "where": "pc-b", "what": "pc-b does not answer T440.", "remedy": "switch pc-b on"}]
  contains:
    level:
      description: As above; V(ok) is no trouble, but good to know.
      type: str
      returned: always
    where:
      description: The machine.
      type: str
      returned: always
    what:
      description: What is wrong, and why.
      type: str
      returned: always
    remedy:
      description: The next command, or what to do.
      type: str
      returned: always
lines:
  description: The status and the events in lines for people.
  returned: success
  type: list
  elements: str
  sample: ["Pair joe: home, pc-a serves (epoch 7)"]
events:
  description: The newest events, oldest first.
  returned: success
  type: list
  elements: dict
  sample: [{"at": "2026-11-24T06:00:00.000Z", "kind": "failover", "node": "pc-b", "epoch": 8, "reason": "pc-a has been silent"}]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dualjoe.ha.plugins.module_utils.dualjoe import control, overview, summary


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "events": {"type": "int", "default": 0},
            "socket": {"type": "path", "default": control.SOCKET},
        },
        supports_check_mode=True,
    )
    events: list[dict[str, Any]] = []
    try:
        status = control.ask("status", path=module.params["socket"])
        if module.params["events"] > 0 and status.get("ok"):
            told = control.ask(
                "timeline", path=module.params["socket"], limit=module.params["events"], on_event=events.append
            )
            status = status if told.get("ok") else told
    except control.ControlError as error:
        module.fail_json(msg=str(error))
    if not status.get("ok"):
        module.fail_json(msg=str(status.get("message")))
    status = {name: value for name, value in status.items() if name not in ("v", "ok")}
    seen = overview.of(status)
    lines = summary.of_overview(seen) + [summary.of_event(event) for event in events]
    findings = [vars(finding) for finding in seen.findings]
    module.exit_json(changed=False, status=status, level=seen.level, findings=findings, events=events, lines=lines)


if __name__ == "__main__":
    main()
