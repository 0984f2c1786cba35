"""Write docs/reference.md from the roles' argument specs and the modules' DOCUMENTATION.

With --check, write nothing and exit 1 if the page is out of date.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference.md"
HEAD = """\
# Reference

Made by `make docs` from the sources; do not edit by hand.

[Roles](#roles) · [Modules](#modules)
"""


def text(value: object) -> str:
    """A description (a sentence or a list of them) as one table cell; Ansible's marks such as V(x) become code."""
    sentences = value if isinstance(value, list) else [value]
    joined = " ".join(" ".join(str(sentence).split()) for sentence in sentences)
    return re.sub(r"\b[COMV]\(([^()]*)\)", r"`\1`", joined).replace("|", "\\|")


def cell(value: object) -> str:
    """A value as code, in JSON's spelling."""
    return "`" + json.dumps(value, ensure_ascii=False).replace("|", "\\|") + "`"


def options_table(options: dict[str, dict[str, Any]], defaults: dict[str, Any]) -> list[str]:
    """One row per option. `defaults` fills in what the option itself does not say."""
    if not options:
        return ["No options."]
    rows = ["| name | type | default | meaning |", "|---|---|---|---|"]
    for name, option in sorted(options.items()):
        if option.get("required"):
            default = "required"
        elif (value := option.get("default", defaults.get(name))) is None:
            default = ""
        else:
            default = cell(value)
        meaning = text(option.get("description", ""))
        if choices := option.get("choices"):
            meaning += " One of " + ", ".join(cell(choice) for choice in choices) + "."
        rows.append(f"| `{name}` | {option.get('type', 'str')} | {default} | {meaning} |")
    return rows


def role_section(role: Path) -> list[str]:
    """The section of one role."""
    spec = yaml.safe_load((role / "meta/argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"]["main"]
    defaults = yaml.safe_load((role / "defaults/main.yml").read_text(encoding="utf-8")) or {}
    intro = text(spec.get("description") or spec["short_description"]).replace("\\|", "|")
    return ["", f"### {role.name}", "", intro, "", *options_table(spec.get("options", {}), defaults)]


def documentation(module: Path) -> dict[str, Any]:
    """A module's DOCUMENTATION, read without running it."""
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["DOCUMENTATION"]:
            loaded: dict[str, Any] = yaml.safe_load(ast.literal_eval(node.value))
            return loaded
    message = f"{module} has no DOCUMENTATION"
    raise SystemExit(message)


def module_section(module: Path) -> list[str]:
    """The section of one module."""
    told = documentation(module)
    intro = text(told.get("description") or told["short_description"]).replace("\\|", "|")
    return ["", f"### dualjoe.ha.{module.stem}", "", intro, "", *options_table(told.get("options") or {}, {})]


def render() -> str:
    """The whole page."""
    lines = ["", "## Roles"]
    for spec in sorted(ROOT.glob("roles/*/meta/argument_specs.yml")):
        lines += role_section(spec.parents[1])
    lines += ["", "## Modules"]
    for module in sorted(ROOT.glob("plugins/modules/[!_]*.py")):
        lines += module_section(module)
    return HEAD + "\n".join(lines) + "\n"


def main() -> int:
    """Write or check the page."""
    page = render()
    if "--check" in sys.argv[1:]:
        return 0 if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page else 1
    PAGE.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
