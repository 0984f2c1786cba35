"""Variables from group_vars and host_vars; what cannot be read is named, with what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.vars import BaseVarsPlugin, host_group_vars

DOCUMENTATION = """
name: group_vars
short_description: Variables from group_vars and host_vars, with messages that say what to do
version_added: 1.2.0
description:
  - The same as P(ansible.builtin.host_group_vars#vars). Where a file cannot be read, the message names it, and for one
    that is encrypted says how to give the password.
  - To be enabled in its place, as C(vars_plugins_enabled) in C(ansible.cfg).
author: The Dual-Joe authors
"""

PASSWORD = "it is encrypted: give the right password with --ask-vault-pass, or --vault-password-file FILE"


class _Named(host_group_vars.VarsModule):  # type: ignore[misc]
    """Ansible's own, with a name to each mistake."""

    def load_found_files(self, loader: Any, data: dict[str, Any], found_files: Sequence[str]) -> dict[str, Any]:
        for found in found_files:
            try:
                data = super().load_found_files(loader, data, [found])
            except AnsibleError as error:
                told = str(error)
                line = getattr(error.obj, "line_num", None)
                where = f"{found}:{line}" if line else found
                raise AnsibleError(f"{where}: {PASSWORD if 'decrypt' in told.lower() else told}") from error
        return data


class VarsModule(BaseVarsPlugin):  # type: ignore[misc]
    """Ansible's entry point."""

    is_stateless = True

    def __init__(self) -> None:
        super().__init__()
        self._named = _Named()

    def get_vars(self, loader: Any, path: str, entities: Any, cache: bool = True) -> dict[str, Any]:
        told: dict[str, Any] = self._named.get_vars(loader, path, entities, cache)
        return told
