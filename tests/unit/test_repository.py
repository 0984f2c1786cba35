"""What the repository says about itself is true."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "plugins/modules").glob("[!_]*.py"))
LOCKS = sorted([*ROOT.glob("requirements/*.txt"), *ROOT.glob("roles/*/files/*requirements.txt")])
NPM_LOCKS = sorted(
    [
        *ROOT.glob("lab/*/package-lock.json"),
        *ROOT.glob("tests/*/package-lock.json"),
        *ROOT.glob("roles/*/files/package-lock.json"),
    ]
)
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
IMPORT_PLAYBOOK = {"name", "ansible.builtin.import_playbook"}

each_module = pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_collection_link_leads_to_the_root() -> None:
    link = ROOT / "collections/ansible_collections/dualjoe/ha"
    assert link.is_symlink()
    assert not link.readlink().is_absolute()
    assert link.resolve() == ROOT


@pytest.mark.parametrize("name", ["site.yml", "failover.yml", "failback.yml"])
def test_root_playbooks_only_import(name: str) -> None:
    for play in yaml.safe_load((ROOT / name).read_text(encoding="utf-8")):
        assert set(play) <= IMPORT_PLAYBOOK
        assert (ROOT / play["ansible.builtin.import_playbook"]).is_file()


@pytest.mark.parametrize("lock", LOCKS, ids=relative)
def test_locked_requirements_have_hashes_and_name_no_registry(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"^\s*--(index-url|extra-index-url|find-links|trusted-host)", text, re.MULTILINE)
    requirements = re.split(r"\n(?=[A-Za-z0-9])", text)
    requirements = [entry for entry in requirements if re.match(r"[A-Za-z0-9]", entry)]
    assert requirements
    assert [entry.splitlines()[0] for entry in requirements if "==" not in entry or "--hash=sha256:" not in entry] == []


@pytest.mark.parametrize("lock", NPM_LOCKS, ids=relative)
def test_locked_npm_packages_have_integrity_and_name_no_registry(lock: Path) -> None:
    packages = json.loads(lock.read_text(encoding="utf-8"))["packages"]
    fetched = {name: package for name, package in packages.items() if name and not package.get("inBundle")}
    assert fetched
    assert [name for name, package in fetched.items() if "resolved" in package] == []
    assert [name for name, package in fetched.items() if "integrity" not in package] == []


def test_changelog_begins_with_the_collection_s_version() -> None:
    version = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))["version"]
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest
    assert newest[1] == version


def test_collection_declares_the_collections_it_uses() -> None:
    """The `ansible` package has them; a controller with ansible-core alone gets them from this list."""
    sources = [*(ROOT / "roles").rglob("*.yml"), *(ROOT / "playbooks").glob("*.yml")]
    text = "\n".join(source.read_text(encoding="utf-8") for source in sources)
    used = set(
        re.findall(r"^\s*(?:- )?((?!ansible\.builtin|dualjoe\.ha)[a-z_]+\.[a-z_]+)\.[a-z_]+:$", text, re.MULTILINE)
    )
    assert used == set(yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))["dependencies"])


def test_vault_example_holds_the_secrets_that_the_inventory_asks_for() -> None:
    inventory = ROOT / "inventory/group_vars/all"
    asked = set(re.findall(r"\bvault_\w+", (inventory / "main.yml").read_text(encoding="utf-8")))
    example = yaml.safe_load((inventory / "vault.example.yml").read_text(encoding="utf-8"))
    assert set(example) == asked
    assert not any(example.values())


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_pages_name_only_what_exists(page: Path) -> None:
    """Links, playbooks and make targets."""
    text = page.read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    commands = "\n".join(re.findall(r"```.*?```|`[^`\n]+`", text, re.DOTALL))
    links = [link for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text) if not (page.parent / link).exists()]
    playbooks = [
        name for name in re.findall(r"ansible-playbook(?: -\S+)* (\S+\.yml)", commands) if not (ROOT / name).exists()
    ]
    unknown = set(re.findall(r"^\s*`*make ([a-z-]+)", commands, re.MULTILINE)) - targets
    assert (links, playbooks, unknown) == ([], [], set())


def test_a_set_of_a_role_has_an_order() -> None:
    """Ansible makes real sets for these filters: their order differs from run to run, and with it what is written."""
    found = [
        (path.parents[1].name, line)
        for path in ROOT.glob("roles/*/vars/main.yml")
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"\| (union|difference|intersect|symmetric_difference)\(", line)
    ]
    assert len(found) > 5, "they are read"
    assert [each for each in found if not re.search(r"\| (sort|first)\b", each[1])] == []


def test_reference_is_what_the_sources_say() -> None:
    check = [sys.executable, str(ROOT / "docs/build_reference.py"), "--check"]
    assert subprocess.run(check, check=False).returncode == 0, "run `make docs`"


def argument_spec(path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """The argument_spec a module hands to AnsibleModule."""
    module = importlib.import_module(f"ansible_collections.dualjoe.ha.plugins.modules.{path.stem}")
    seen: dict[str, Any] = {}

    class Stop(Exception):
        pass

    def capture(**arguments: Any) -> None:
        seen.update(arguments)
        raise Stop

    monkeypatch.setattr(module, "AnsibleModule", capture)
    with pytest.raises(Stop):
        module.main()
    spec: dict[str, dict[str, Any]] = seen["argument_spec"]
    return spec


@each_module
def test_module_documentation_is_complete(path: Path) -> None:
    module = importlib.import_module(f"ansible_collections.dualjoe.ha.plugins.modules.{path.stem}")
    documentation = yaml.safe_load(module.DOCUMENTATION)
    assert documentation["module"] == path.stem
    assert documentation["short_description"]
    assert f"dualjoe.ha.{path.stem}" in {key for task in yaml.safe_load(module.EXAMPLES) for key in task}
    assert all(value["description"] for value in yaml.safe_load(module.RETURN).values())


@each_module
def test_module_documentation_agrees_with_the_code(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module(f"ansible_collections.dualjoe.ha.plugins.modules.{path.stem}")
    facts = ("type", "required", "default", "choices", "elements")
    usual = {"type": "str", "required": False}

    def compare(options: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        return {name: {fact: option.get(fact, usual.get(fact)) for fact in facts} for name, option in options.items()}

    documented = yaml.safe_load(module.DOCUMENTATION).get("options") or {}
    assert compare(argument_spec(path, monkeypatch)) == compare(documented)
