"""What a node's settings of the memory say to those who check it: the policy, and which folder is which set."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .rules import BUILT_IN, Policy
from .selection import Selection
from .trees import Tree

NODE = Path("/etc/dualjoe/memory.json")


@dataclass(frozen=True)
class MemorySettings:
    """``sets`` maps a set's live folder to its name and to what of the folder is memory."""

    policy: Policy = BUILT_IN
    sets: Mapping[str, tuple[str, Selection]] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> MemorySettings:
        """Read a node's settings, or a file with a policy alone. Raises OSError, and ValueError for what is wrong."""
        raw = json.loads(path.read_text("utf-8"))
        if not isinstance(raw, dict) or "sets" not in raw:
            return cls(Policy.parse(raw))
        try:
            sets = {
                str(each["path"]): (str(each["name"]), Selection(each["include"], each.get("exclude") or []))
                for each in raw["sets"]
            }
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"sets: {error!r}; run site.yml again") from error
        return cls(Policy.parse(raw.get("policy", {})), sets)

    def tree(self, path: Path) -> Tree:
        """The tree at ``path``: of a set's live folder what a sync would copy, with the names it has in a copy."""
        whole = os.path.abspath(path)
        return Tree(str(path), *self.sets.get(whole, ()))

    def beside(self, previous: Path, tree: Tree) -> Tree:
        """A good tree of before, named as ``tree`` is."""
        return Tree(str(previous), tree.name)
