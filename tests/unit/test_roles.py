"""Every role keeps the conventions in CONTRIBUTING.md."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import local_play
import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.dualjoe.ha.plugins.filter.saved_containers import saved_containers

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path for path in (ROOT / "roles").iterdir() if (path / "tasks").is_dir())
PHASES = {"preflight", "install", "configure", "service"}
# What common sets up has two subjects, and trust is run once more when all three have made their keys.
OWN_PHASES = {"common": {"accounts", "trust"}}
WRITERS = {"ansible.builtin." + name for name in ("assemble", "blockinfile", "copy", "file", "get_url", "template")}
WRITERS.add("dualjoe.ha.code_folder")
DISPATCHERS = {"ansible.builtin.import_tasks", "ansible.builtin.include_tasks"}

each_role = pytest.mark.parametrize("role", ROLES, ids=lambda path: path.name)


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def flatten(tasks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """All tasks, those inside blocks as well."""
    for task in tasks:
        inner = [step for part in ("block", "rescue", "always") for step in task.get(part, [])]
        if inner:
            yield from flatten(inner)
        else:
            yield task


def tasks_of(role: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, task) for each task and handler of a role."""
    for path in sorted([*role.glob("tasks/**/*.yml"), *role.glob("handlers/*.yml")]):
        for task in flatten(load(path) or []):
            yield f"{path.relative_to(ROOT)}: {task.get('name', 'without a name')}", task


def spec_of(role: Path) -> dict[str, dict[str, Any]]:
    options: dict[str, dict[str, Any]] = load(role / "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    return options


def defaults_of(role: Path) -> dict[str, Any]:
    return load(role / "defaults/main.yml") or {}


def test_there_are_roles() -> None:
    assert ROLES


@each_role
def test_defaults_carry_the_role_s_prefix(role: Path) -> None:
    allowed = (f"{role.name}_", f"_{role.name}_")
    assert [key for key in defaults_of(role) if not key.startswith(allowed)] == []


@each_role
def test_argument_specs_describe_the_public_defaults(role: Path) -> None:
    """A variable without a default is in the specs only, and required there."""
    spec = spec_of(role)
    public = {key for key in defaults_of(role) if not key.startswith("_")}
    optional = {key for key, option in spec.items() if not option.get("required", False)}
    # A variable of another role may be required here; it has its default there.
    assert optional == public
    assert public.isdisjoint(set(spec) - optional), "required, and yet with a default"


@each_role
def test_argument_specs_repeat_the_defaults_that_are_plain_values(role: Path) -> None:
    defaults = defaults_of(role)
    told = {key: option["default"] for key, option in spec_of(role).items() if "default" in option}
    plain = {key for key in told if "{{" not in str(defaults.get(key))}
    assert {key: told[key] for key in plain} == {key: defaults.get(key) for key in plain}


@each_role
def test_argument_specs_take_the_plain_defaults(role: Path) -> None:
    """What is left as it is must pass, suboptions included."""
    plain = {key: value for key, value in defaults_of(role).items() if key[0] != "_" and "{{" not in str(value)}
    result = ArgumentSpecValidator({key: spec_of(role)[key] for key in plain}).validate(plain)
    assert result.error_messages == []


@each_role
def test_argument_specs_have_type_and_description(role: Path) -> None:
    bare = [key for key, option in spec_of(role).items() if not (option.get("type") and option.get("description"))]
    assert bare == []


@each_role
def test_main_only_dispatches_to_tagged_phases(role: Path) -> None:
    for task in load(role / "tasks/main.yml"):
        action = DISPATCHERS & task.keys()
        assert action, f"{task.get('name')} does work in tasks/main.yml"
        file = task[action.pop()]
        phase = (file if isinstance(file, str) else file["file"]).removesuffix(".yml")
        assert phase in PHASES | OWN_PHASES.get(role.name, set())
        assert (role / "tasks" / f"{phase}.yml").is_file()
        tags = task.get("tags") or task.get("apply", {}).get("tags", [])
        assert {role.name, f"{role.name}_{phase}"} <= set(tags), f"tags of {phase}"


@each_role
def test_preflight_tells_all_requirements_together(role: Path) -> None:
    """A failing assert would be the only thing that playbooks/preflight.yml tells of its role."""
    used = {action for task in flatten(load(role / "tasks/preflight.yml")) for action in task}
    assert "dualjoe.ha.require" in used
    assert used.isdisjoint({"ansible.builtin.assert", "ansible.builtin.fail"})


@each_role
def test_written_files_name_owner_group_and_mode(role: Path) -> None:
    unsaid = []
    for where, task in tasks_of(role):
        for arguments in (task[action] for action in WRITERS & task.keys()):
            if arguments.get("state") in {"absent", "link"}:
                continue
            unsaid += [f"{where}: {key}" for key in ("owner", "group", "mode") if key not in arguments]
    assert unsaid == []


@each_role
def test_no_error_is_ignored(role: Path) -> None:
    assert [where for where, task in tasks_of(role) if "ignore_errors" in task] == []


@each_role
def test_registered_variables_are_private(role: Path) -> None:
    names = [task["register"] for _, task in tasks_of(role) if "register" in task]
    assert [name for name in names if not name.startswith(f"__{role.name}_")] == []


@each_role
def test_templates_say_that_ansible_manages_them(role: Path) -> None:
    """Left out: JSON, which has no comments, and parts of other templates. A script's first line is its interpreter."""
    texts = {path: path.read_text(encoding="utf-8") for path in role.glob("templates/**/*.j2")}
    for template, text in texts.items():
        is_part = any(f"'{template.name}'" in other for path, other in texts.items() if path != template)
        if is_part or template.suffixes[-2:] == [".json", ".j2"]:
            continue
        lines = text.splitlines()
        first = lines[1] if lines[0].startswith("#!") else lines[0]
        assert first.startswith("{{ ansible_managed | comment"), template.relative_to(ROOT)


@each_role
def test_units_that_use_the_gateway_s_folder_do_not_hide_home(role: Path) -> None:
    """OpenClaw's own default is ~/.openclaw, and an adopted one lies there."""
    if not any("openclaw_state_dir" in path.read_text(encoding="utf-8") for path in role.glob("*/*.*")):
        return
    hidden = [
        path.name
        for path in role.glob("templates/*.j2")
        if re.search("^ProtectHome=(yes|true|tmpfs)", path.read_text(), re.M)
    ]
    assert hidden == []


def test_the_machines_take_up_a_new_library_one_after_the_other(tmp_path: Path) -> None:
    """A watchdog and both guards that are away together leave a short lease with nobody to renew it."""
    (tmp_path / "systemctl").write_text(f"#!/bin/sh\nmkdir {tmp_path}/away && sleep 1 && rmdir {tmp_path}/away\n")
    (tmp_path / "systemctl").chmod(0o755)
    play = {
        "hosts": "all",
        "tasks": [
            {
                "name": "A new library",
                "ansible.builtin.debug": {"msg": "new"},
                "changed_when": True,
                "notify": "Have the new library used",
            }
        ],
        "handlers": load(ROOT / "roles/common/handlers/main.yml"),
    }
    hosts: dict[str, dict[str, Any]] = {name: {} for name in ("t440", "pc-a", "pc-b")}
    told = local_play.run(tmp_path, play, hosts=hosts, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert told.count("RUNNING HANDLER") == 1


CRON_FILES = sorted(ROOT.glob("roles/*/templates/cron*.j2"))


@pytest.mark.parametrize("template", CRON_FILES, ids=lambda path: "-".join(path.parts[-3::2]))
def test_what_a_machine_misses_while_it_is_off_it_does_after_its_boot(template: Path) -> None:
    """What comes every few minutes comes soon anyway."""
    lines = re.findall(r"^([^#\n]+) \S+ (/usr/local/bin/.+)$", template.read_text("utf-8"), re.MULTILINE)
    rare = [command for when, command in lines if not when.startswith(("*", "@reboot"))]
    again = [command.partition(" --if-older-than ")[0] for when, command in lines if when == "@reboot"]
    assert again == rare


@pytest.mark.parametrize(
    ("backup", "saved"),
    [
        ({"hook": "postgres", "database": "x"}, True),
        ({"hook": "none", "volumes": ["x"]}, True),
        ({"hook": "none", "binds": ["/x"]}, True),
        ({"hook": "none", "compose": ["/x"]}, True),
        ({"hook": "none", "reason": "it keeps nothing"}, False),
    ],
)
def test_a_container_is_saved_by_its_hook_or_by_what_is_named_besides(backup: dict[str, Any], saved: bool) -> None:
    item = {"name": "box", "backup": backup}
    assert saved_containers([item]) == ([item] if saved else [])


@pytest.mark.parametrize(
    ("backup", "saved"), [({"hook": "none", "volumes": ["x"]}, True), ({"hook": "none", "reason": "empty"}, False)]
)
def test_backups_are_missed_where_they_are_scheduled(tmp_path: Path, backup: dict[str, Any], saved: bool) -> None:
    """Those of folders alone were scheduled, and nobody missed them."""
    hosts = {"t440": {"containers_list": [{"name": "box", "backup": backup}]}, "pc-a": {}, "pc-b": {}}
    groups = {"witness": ["t440"], "primary": ["pc-a"], "standby": ["pc-b"], "nodes": ["pc-a", "pc-b"]}
    children = {group: {"hosts": {name: hosts[name] for name in names}} for group, names in groups.items()}
    files = [
        str(ROOT / "roles" / role / part / "main.yml")
        for role in ("backup", "watchdog")
        for part in ("defaults", "vars")
    ]
    told = "{{ {'jobs': watchdog_jobs | map(attribute='name'), 'hooks': _backup_hooks} | to_json }}"
    task = {"name": "Tell", "ansible.builtin.copy": {"content": told, "dest": f"{tmp_path}/told.json", "mode": "0644"}}
    local_play.run(tmp_path, {"hosts": "t440", "vars_files": files, "tasks": [task]}, groups=children)
    found = json.loads((tmp_path / "told.json").read_text("utf-8"))
    assert found["hooks"] == ([{"name": "box", **backup}] if saved else [])
    assert {"backup", "backup-verify", "drill"} & {*found["jobs"]} == (
        {"backup", "backup-verify", "drill"} if saved else set()
    )


def test_the_memory_s_units_may_write_where_its_sets_are(tmp_path: Path) -> None:
    """Also beside the gateway's own folder; but not into all that is there."""
    role = ROOT / "roles/memory_sync"
    sets = [*defaults_of(role)["memory_sync_sets"], {"name": "notes", "path": "/srv/notes", "include": ["**"]}]
    (tmp_path / "defaults.yml").write_text(yaml.safe_dump({"memory_sync_sets": sets}))
    folders = {"ansible.builtin.debug": {"msg": "FOLDERS {{ _memory_sync_writable | join(' ') }} END"}}
    play = {
        "hosts": "localhost",
        "vars": {"openclaw_state_dir": "/srv/openclaw"},
        "vars_files": [str(tmp_path / "defaults.yml"), str(role / "vars/main.yml")],
        "tasks": [folders],
    }
    told = local_play.run(tmp_path, play).partition("FOLDERS ")[2].partition(" END")[0].split()
    assert {"/srv/openclaw", "/srv/notes"} <= set(told)
    assert not {"/srv", "/"} & set(told)


@pytest.mark.parametrize("new", ["", "elsewhere"], ids=["no more", "elsewhere"])
def test_metrics_that_nobody_writes_any_more_are_taken_away(tmp_path: Path, new: str) -> None:
    """node_exporter would tell of a guard that is well for ever."""
    for name in ("before", "elsewhere", "cron"):
        (tmp_path / name).mkdir()
    (tmp_path / "before/dualjoe.prom").write_text("dualjoe_guard_up 1\n")
    (tmp_path / "elsewhere/dualjoe.prom").write_text("dualjoe_guard_up 1\n")
    (tmp_path / "before/other.prom").touch()
    cron = tmp_path / "cron/dualjoe-metrics"
    line = "* * * * * root /usr/local/bin/dualjoe status --prometheus {}/dualjoe.prom\n"
    cron.write_text(line.format(tmp_path / "before"))
    tasks = (ROOT / "roles/guard/tasks/metrics.yml").read_text()
    for ours, here in (
        ("/etc/cron.d/dualjoe-metrics", str(cron)),
        ("cron-metrics.j2", str(ROOT / "roles/guard/templates/cron-metrics.j2")),
        ("owner: root", f"owner: '{os.getuid()}'"),
        ("group: root", f"group: '{os.getgid()}'"),
    ):
        tasks = tasks.replace(ours, here)
    (tmp_path / "tasks.yml").write_text(tasks)
    play = {
        "hosts": "localhost",
        "vars": {"guard_textfile_folder": str(tmp_path / new) if new else ""},
        "tasks": [{"ansible.builtin.include_tasks": str(tmp_path / "tasks.yml")}],
    }
    for changed in (True, False):
        assert ("changed=0" not in local_play.run(tmp_path, play)) == changed
    assert [path.name for path in (tmp_path / "before").iterdir()] == ["other.prom"]
    assert (tmp_path / "elsewhere/dualjoe.prom").exists()
    assert (line.format(tmp_path / "elsewhere") in cron.read_text()) if new else not cron.exists()


@pytest.mark.parametrize(("unit", "epoch", "good"), [(False, False, True), (True, True, True), (True, False, False)])
def test_a_node_that_has_lost_its_epoch_file_is_given_no_new_one(
    tmp_path: Path, unit: bool, epoch: bool, good: bool
) -> None:
    """A fresh one has promised nothing, and has seen no term that is over."""
    for there, name in ((unit, "unit"), (epoch, "epoch.json")):
        if there:
            (tmp_path / name).touch()
    play = {"hosts": "all", "tasks": load(ROOT / "roles/guard/tasks/preflight.yml")}
    values = {
        "guard_hardware_watchdog_seconds": 0,
        "guard_textfile_folder": "",
        "_guard_unit_file": str(tmp_path / "unit"),
        "_guard_epoch_file": str(tmp_path / "epoch.json"),
    }
    done = local_play.attempt(tmp_path, play, hosts={"pc-a": values})
    assert (done.returncode == 0) is good, done.stdout + done.stderr
    assert ("dualjoe epoch reset" in done.stdout) is not good
