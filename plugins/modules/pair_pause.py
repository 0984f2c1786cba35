#!/usr/bin/python
# Copyright: the Dual-Joe authors
# MIT licence (see LICENSE)
"""Pause the pair for maintenance."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pair_pause
short_description: Pause the pair for maintenance, or end a pause
version_added: 1.1.0
description:
  - In a pause Joe stays where he is, also when nobody renews his lease, and nobody takes over, whatever happens. Both nodes
    know of it and keep to it, also without the watchdog.
  - The guard does not restart the gateway meanwhile, so that people can work on it.
  - A pause ends by itself. Asking for one while there is one gives it a new end.
  - Runs on the witness, as root or as a member of group C(dualjoe).
author:
  - The Dual-Joe authors (@dualjoe)
options:
  state:
    description: V(paused) or V(resumed).
    type: str
    choices: [paused, resumed]
    default: paused
  seconds:
    description: The pause ends by itself after so many seconds.
    type: int
    default: 3600
  reason:
    description: Why, for those who are told of it.
    type: str
    default: maintenance
  by:
    description: Who asks, for the timeline.
    type: str
    default: ansible
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
    support: full
"""

EXAMPLES = r"""
- name: Nobody takes over while the switch is replaced
  dualjoe.ha.pair_pause:
    seconds: 7200
    reason: new switch

- name: Go on
  dualjoe.ha.pair_pause:
    state: resumed
"""

RETURN = r"""
message:
  description: What was done, for people.
  returned: success
  type: str
  sample: "paused for 7200 s: Joe stays where he is, and nobody takes over"
pause:
  description: The pause there is now; in check mode, that there was. None where there is none.
  returned: success
  type: dict
  sample: {"by": "ada", "reason": "new switch", "until": "2026-11-24T08:00:00.000Z", "nodes_know": true}
events:
  description: What happened meanwhile, oldest first.
  returned: always
  type: list
  elements: dict
  sample: [{"at": "2026-11-24T06:00:00.000Z", "kind": "requested", "node": null, "epoch": 8, "reason": "ada pauses for 7200 s"}]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dualjoe.ha.plugins.module_utils.dualjoe import control


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["paused", "resumed"], "default": "paused"},
            "seconds": {"type": "int", "default": 3600},
            "reason": {"type": "str", "default": "maintenance"},
            "by": {"type": "str", "default": "ansible"},
            "socket": {"type": "path", "default": control.SOCKET},
        },
        supports_check_mode=True,
    )
    asked = module.params
    events: list[dict[str, Any]] = []
    given = {"seconds": asked["seconds"], "reason": asked["reason"]} if asked["state"] == "paused" else {}
    command = "pause" if asked["state"] == "paused" else "resume"
    path = asked["socket"]
    try:
        was = control.ask("status", path=path).get("pause")
        reply = control.ask(
            command,
            path=path,
            timeout=90,
            on_event=events.append,
            by=asked["by"],
            dry_run=module.check_mode,
            **given,
        )
        now = control.ask("status", path=path).get("pause")
    except control.ControlError as error:
        module.fail_json(msg=str(error), events=events)
    if not reply.get("ok"):
        module.fail_json(msg=str(reply.get("message")), events=events)
    diff = {"before": f"pause: {was}\n", "after": f"pause: {now}\n"}
    module.exit_json(changed=reply["changed"], message=reply["message"], pause=now, events=events, diff=diff)


if __name__ == "__main__":
    main()
