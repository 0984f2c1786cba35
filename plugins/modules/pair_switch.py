#!/usr/bin/python
# Copyright: the Dual-Joe authors
# MIT licence (see LICENSE)
"""Have the watchdog on T440 move Joe."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pair_switch
short_description: Have the watchdog move Joe to a node
version_added: 1.0.0
description:
  - Asks the watchdog for a switchover and returns when the gateway on the other node is ready. It is the same move that
    the watchdog makes by itself - stop on one node, confirmed; fetch the memory; start on the other.
  - Nothing changes when that node serves already.
  - A move to the standby holds Joe there until he is moved home by hand.
  - Runs on the witness, as root or as a member of group C(dualjoe).
author:
  - The Dual-Joe authors (@dualjoe)
options:
  to:
    description: The node's name, V(primary) or V(standby). Without it, the node that does not serve now.
    type: str
  by:
    description: Who asks, for the timeline.
    type: str
    default: ansible
  timeout:
    description: How many seconds without any news to wait. The watchdog itself gives up sooner, and says why.
    type: int
    default: 900
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
- name: Move Joe to PC-B
  dualjoe.ha.pair_switch:
    to: standby

- name: Move Joe home
  dualjoe.ha.pair_switch:
    to: primary
    by: "{{ lookup('ansible.builtin.env', 'USER') }}"
"""

RETURN = r"""
node:
  description: The node that serves now; in check mode, that would serve.
  returned: success
  type: str
  sample: pc-b
message:
  description: What was done, for people.
  returned: success
  type: str
  sample: Joe runs on pc-b
steps:
  description: What the move takes; empty when nothing is to be done.
  returned: success
  type: list
  elements: str
  sample: ["stop the gateway on pc-a", "fetch the memory from pc-a to pc-b", "start the gateway on pc-b and wait until it is ready"]
lines:
  description: The same in lines for people.
  returned: success
  type: list
  elements: str
  sample: ["Joe runs on pc-b"]
events:
  description: What happened meanwhile, oldest first.
  returned: always
  type: list
  elements: dict
  sample: [{"at": "2026-11-24T06:00:00.000Z", "kind": "switchover", "node": "pc-b", "epoch": 8, "reason": "asked for by ansible"}]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dualjoe.ha.plugins.module_utils.dualjoe import control, summary


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "to": {"type": "str"},
            "by": {"type": "str", "default": "ansible"},
            "timeout": {"type": "int", "default": 900},
            "socket": {"type": "path", "default": control.SOCKET},
        },
        supports_check_mode=True,
    )
    events: list[dict[str, Any]] = []
    path = module.params["socket"]
    try:
        was = control.ask("status", path=path).get("holder")
        reply = control.ask(
            "switch",
            path=path,
            timeout=module.params["timeout"],
            on_event=events.append,
            to=module.params["to"],
            by=module.params["by"],
            dry_run=module.check_mode,
        )
    except control.ControlError as error:
        module.fail_json(msg=str(error), events=events)
    if not reply.get("ok"):
        module.fail_json(msg=str(reply.get("message")), events=events)
    result = {name: reply[name] for name in ("changed", "node", "message", "steps")}
    diff = {"before": f"holder: {was}\n", "after": f"holder: {reply['node']}\n"}
    lines = [summary.of_event(event) for event in events] + [reply["message"]]
    module.exit_json(**result, events=events, lines=lines, diff=diff)


if __name__ == "__main__":
    main()
