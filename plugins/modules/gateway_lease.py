#!/usr/bin/python
# Copyright: the Dual-Joe authors
# MIT licence (see LICENSE)
"""Start the gateway on this node without the witness."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gateway_lease
short_description: Have this node serve without T440, on the operator's word
version_added: 1.1.0
description:
  - Asks this node's guard to start the gateway although T440 cannot grant it a lease. Only for when T440 is gone and the
    other node is off; whoever asks vouches for the second.
  - Refused while T440 or the other node is heard, or while this node's promise to the other one may still be relied on.
  - The node alerts until T440 is back and takes over. The term ends with the guard or the machine; nothing of it outlives
    a boot.
  - Nothing changes when this node serves already.
  - Runs on a node, as root.
author:
  - The Dual-Joe authors (@dualjoe)
options:
  state:
    description: V(forced) is all there is.
    type: str
    choices: [forced]
    required: true
  socket:
    description: The guard's socket.
    type: path
    default: /run/dualjoe/guard.sock
attributes:
  check_mode:
    description: Can run in check mode and return changed status without modifying the target.
    support: full
  diff_mode:
    description: Will return details on what has changed when in diff mode.
    support: full
"""

EXAMPLES = r"""
- name: Serve, although T440 is gone and PC-A is off
  dualjoe.ha.gateway_lease:
    state: forced
"""

RETURN = r"""
epoch:
  description: The epoch under which this node serves now; in check mode, the one it knows.
  returned: success
  type: int
  sample: 1007
gateway:
  description: The state of the gateway.
  returned: success
  type: str
  sample: ready
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dualjoe.ha.plugins.module_utils.dualjoe import wire

START_SECONDS = 150.0  # the guard itself gives up sooner, and says why


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["forced"], "required": True},
            "socket": {"type": "path", "default": "/run/dualjoe/guard.sock"},
        },
        supports_check_mode=True,
    )

    def ask(verb: str) -> dict[str, Any]:
        try:
            reply = wire.ask_socket(module.params["socket"], wire.request(verb), START_SECONDS)
        except wire.WireError as error:
            module.fail_json(msg=f"the guard does not answer: {error}; see 'journalctl -u dualjoe-guard'")
        if not reply.get("ok"):
            module.fail_json(msg=str(reply.get("message")))
        return reply

    before = ask("probe")
    changed = before["role"] != "active"
    after = ask("force") if changed and not module.check_mode else before
    state = after["gateway"] if isinstance(after["gateway"], str) else after["gateway"]["state"]
    diff = {"before": f"role: {before['role']}\n", "after": "role: active\n"}
    module.exit_json(changed=changed, epoch=after["epoch"], gateway=state, diff=diff)


if __name__ == "__main__":
    main()
