"""Uninstall takes away what the roles have brought, and keeps what is Joe's."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from test_roles import ROLES, ROOT, load, tasks_of

if TYPE_CHECKING:
    from collections.abc import Iterator

LISTS = load(ROOT / "playbooks/vars/installed.yml")
STATE = PurePosixPath("/var/lib/dualjoe")
PLACES = ("dest", "path", "creates")
# Places that a variable gives, and whose they are.
VARIABLE = {
    "openclaw_executable": "/opt/openclaw/bin/openclaw",
    "openclaw_state_dir": "/srv/openclaw",
    "memory_sync_sentinel": "/srv/openclaw/.dualjoe-memory",
}
JOES = PurePosixPath("/srv/openclaw")


def variables_of(role: Path) -> dict[str, Any]:
    files = [role / "vars/main.yml", role / "defaults/main.yml"]
    return {name: value for path in files if path.exists() for name, value in (load(path) or {}).items()} | VARIABLE


def places(role: Path) -> Iterator[str]:
    """Each path that a role writes to, with what is looped over filled in where it stands in the task itself."""
    variables = variables_of(role)

    def filled(text: str, item: Any) -> str:
        def value(found: re.Match[str]) -> str:
            name, _, field = found[1].partition(" ")[0].partition(".")
            told = item if name == "item" else variables.get(name, "*")
            told = told.name if isinstance(told, Path) and "basename" in found[2] else told
            told = told.get(field, "*") if isinstance(told, dict) else told
            return re.sub(r"\{\{ *([\w.]+)(.*?)\}\}", value, str(told))

        return re.sub(r"\{\{ *([\w.]+)(.*?)\}\}", value, text)

    for _, task in tasks_of(role):
        globbed = sorted(role.glob(f"files/{task.get('with_fileglob', '-')}"))
        items: list[Any] = globbed or (loop if isinstance(loop := task.get("loop"), list) else ["*"])
        for action, arguments in task.items():
            if not isinstance(arguments, dict) or not action.startswith(
                ("ansible.builtin.", "dualjoe.ha.", "community")
            ):
                continue
            if action.endswith(("stat", "slurp", "assert", "find", "set_fact")) or arguments.get("state") == "absent":
                continue
            yield from {filled(str(arguments[key]), item) for key in PLACES if key in arguments for item in items}


def taken_away(path: PurePosixPath) -> bool:
    chain = [path, *path.parents]
    return any(
        str(each.parent) in LISTS["installed_folders"]
        and any(fnmatch(each.name, name) for name in LISTS["installed_names"])
        for each in chain
    )


def known(path: PurePosixPath) -> bool:
    """It goes, it is our own folder's, it stays on purpose, or it is Joe's own."""
    stays = [PurePosixPath(each) for each in LISTS["installed_stays"]]
    return taken_away(path) or any(path == each or each in path.parents for each in (STATE, JOES, *stays))


@pytest.mark.parametrize("role", ROLES, ids=lambda path: path.name)
def test_all_that_a_role_writes_is_taken_away_or_stays_on_purpose(role: Path) -> None:
    found = [place for place in places(role) if place.startswith("/")]
    assert [place for place in found if not known(PurePosixPath(place))] == []


def test_the_places_are_seen() -> None:
    """The look at the roles finds what it is known to find; otherwise the test above would say nothing."""
    found = {place for role in ROLES for place in places(role)}
    assert {
        "/etc/sudoers.d/dualjoe-backup",
        "/etc/cron.d/dualjoe-memory-sync",
        "/etc/systemd/system/dualjoe-guard.service",
        "/etc/systemd/system/dualjoe-memory-follow.service",
        "/usr/local/bin/dualjoe-restore",
        "/usr/local/lib/dualjoe/dualjoe",
        "/opt/dualjoe/watchdog/.complete",
        "/etc/systemd/system.conf.d/dualjoe-watchdog.conf",
    } <= found


def test_no_file_of_joe_s_is_taken_away() -> None:
    for path in (
        "/opt/openclaw",
        "/etc/openclaw/gateway.env",
        "/etc/systemd/system/openclaw-gateway.service",
        "/srv/openclaw",
    ):
        assert not taken_away(PurePosixPath(path))


def test_the_accounts_that_a_role_makes_go() -> None:
    accounts = load(ROOT / "roles/common/vars/main.yml")["_common_accounts"]
    assert {each["name"] for each in accounts} == set(LISTS["installed_accounts"])


def test_the_plain_unit_is_the_guarded_one_without_the_guard() -> None:
    folder = ROOT / "roles/openclaw/templates"
    guarded, plain = (
        [line for line in (folder / f"openclaw-gateway{kind}.service.j2").read_text().splitlines() if "=" in line]
        for kind in ("", "-plain")
    )
    ours = ("After", "BindsTo", "Restart", "Description", "WantedBy", "RestartSec")
    same = [[line for line in unit if line.split("=")[0] not in ours] for unit in (guarded, plain)]
    assert same[0] == same[1]
    assert not any("dualjoe" in line for line in plain)
    assert "WantedBy=multi-user.target" in plain


def test_the_lists_are_used() -> None:
    text = (ROOT / "playbooks/uninstall.yml").read_text(encoding="utf-8")
    assert {name for name in LISTS if name != "installed_stays"} <= set(re.findall(r"\binstalled_\w+", text))
    assert yaml.safe_load(text)
