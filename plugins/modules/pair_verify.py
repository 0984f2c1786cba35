#!/usr/bin/python
# Copyright: the Dual-Joe authors
# MIT licence (see LICENSE)
"""See that a move of Joe is whole."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pair_verify
short_description: See that a move of Joe is whole
version_added: 1.1.0
description:
  - Asks the watchdog until Joe is ready on the node he was moved to, and the other node is not active. Fails, and says what
    is wrong, when that is not so in time. Changes nothing.
  - What else stands wrong in the pair, such as a node that is silent or a job that failed, is returned and does not fail.
  - Runs on the witness, as root or as a member of group C(dualjoe).
author:
  - The Dual-Joe authors (@dualjoe)
options:
  node:
    description: The node's name, V(primary) or V(standby). Without it, the node that holds the lease now.
    type: str
  timeout:
    description: How many seconds to wait until all is well.
    type: int
    default: 60
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
- name: See that Joe serves at home
  dualjoe.ha.pair_verify:
    node: primary
"""

RETURN = r"""
node:
  description: The node that was looked at.
  returned: when the watchdog answers
  type: str
  sample: pc-b
summary:
  description: What was found, in one line.
  returned: when the watchdog answers
  type: str
  sample: "Joe serves on pc-b; to look at: pc-a does not answer T440."
troubles:
  description: What stands wrong in the pair, as alerts say it.
  returned: when the watchdog answers
  type: list
  elements: str
  sample: ["pc-a does not answer T440."]
lines:
  description: How the pair and its jobs are, in lines for people.
  returned: when the watchdog answers
  type: list
  elements: str
  sample: ["Pair joe: home, pc-a serves (epoch 7)"]
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dualjoe.ha.plugins.module_utils.dualjoe import control, verification
from ansible_collections.dualjoe.ha.plugins.module_utils.dualjoe.verification import Findings

LOOK_SECONDS = 1.0


def look(path: str, node: str | None, timeout: float) -> Findings:
    """What there is to say of the move, as soon as nothing is wrong with it, or after the timeout. Raises ControlError."""
    deadline = time.monotonic() + timeout
    while True:
        over = time.monotonic() >= deadline
        try:
            found = verification.of_move(control.ask("status", path=path), node)
            if over or not found.wrong:
                return found
        except control.ControlError:  # the watchdog may be starting again
            if over:
                raise
        time.sleep(LOOK_SECONDS)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "node": {"type": "str"},
            "timeout": {"type": "int", "default": 60},
            "socket": {"type": "path", "default": control.SOCKET},
        },
        supports_check_mode=True,
    )
    try:
        found = look(module.params["socket"], module.params["node"], module.params["timeout"])
    except control.ControlError as error:
        module.fail_json(msg=str(error))
    told: dict[str, Any] = {
        "node": found.node,
        "summary": found.summary,
        "troubles": list(found.troubles),
        "lines": list(found.lines),
    }
    if found.wrong:
        module.fail_json(msg="; ".join(found.wrong), **told)
    module.exit_json(changed=False, **told)


if __name__ == "__main__":
    main()
