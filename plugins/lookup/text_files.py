"""The texts of the files that a pattern finds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

DOCUMENTATION = """
name: text_files
short_description: Read the text files that patterns find
version_added: 1.0.0
description:
  - Returns one dictionary with the text of each file by its name, as module M(dualjoe.ha.code_folder) takes it.
  - The texts are as they stand in the files, to the last newline, and are never templated.
options:
  _terms:
    description:
      - Patterns such as C(dualjoe_guard/*.py). Their folders are looked for where a role's files are; only the name may
        have C(*), C(?) and C([]).
      - A pattern that finds nothing is an error, and so are two files of the same name.
    type: list
    elements: str
    required: true
author: The Dual-Joe authors
"""

EXAMPLES = """
- name: Install the package
  dualjoe.ha.code_folder:
    path: /usr/local/lib/dualjoe/dualjoe_guard
    files: "{{ lookup('dualjoe.ha.text_files', 'dualjoe_guard/*.py') }}"
"""

RETURN = """
_raw:
  description: The text of each file, by its name.
  type: list
  elements: dict
"""


class LookupModule(LookupBase):
    """Ansible's entry point."""

    def run(self, terms: list[str], variables: Any = None, **_: Any) -> list[dict[str, str]]:
        texts: dict[str, str] = {}
        for term in terms:
            pattern = Path(term)
            folder = self.find_file_in_search_path(variables, "files", str(pattern.parent), ignore_missing=True)
            found = sorted(path for path in Path(folder).glob(pattern.name) if path.is_file()) if folder else []
            if not found:
                raise AnsibleError(f"no file is named {term}")
            for path in found:
                if path.name in texts:
                    raise AnsibleError(f"two files are named {path.name}")
                try:
                    texts[path.name] = path.read_bytes().decode("utf-8")
                except (OSError, UnicodeDecodeError) as error:
                    raise AnsibleError(f"{path} cannot be read as text: {error}") from error
        return [texts]
