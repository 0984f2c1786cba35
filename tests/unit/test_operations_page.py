"""Each command in a box of docs/operations.md is run by a test, or marked: `<!-- untested: why -->` above its box."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.utils.vars import load_extra_vars

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/operations.md"
# How a command begins: the file of the test that runs it, and what stands there.
TESTED = {
    "ansible-playbook failover.yml -e force=true": (
        "molecule/default/tests/test_without_t440.py",
        '"failover.yml", "-e", "force=true"',
    ),
    "ansible-playbook failback.yml": ("molecule/default/tests/test_playbooks.py", '"failback.yml"'),
    "ansible-playbook failover.yml": ("molecule/default/tests/test_playbooks.py", '"failover.yml", "--check"'),
    "ansible-playbook playbooks/config_rollback.yml": (
        "molecule/memory/tests/test_config.py",
        "playbooks/config_rollback.yml",
    ),
    "ansible-playbook playbooks/after_move.yml": (
        "molecule/default/tests/test_after_move.py",
        "playbooks/after_move.yml",
    ),
    "ansible-playbook playbooks/drill.yml": ("molecule/backup/tests/test_backup.py", "playbooks/drill.yml"),
    "ansible-playbook playbooks/pause.yml": (
        "molecule/default/tests/test_maintenance.py",
        '"playbooks/pause.yml", "-e"',
    ),
    "ansible-playbook playbooks/preflight.yml": ("tests/unit/test_preflight.py", '"playbooks/preflight.yml"'),
    "ansible-playbook playbooks/rehearse.yml": ("molecule/memory/tests/test_rehearsal.py", "playbooks/rehearse.yml"),
    "ansible-playbook playbooks/restore.yml": ("lab/backups.py", "playbooks/restore.yml"),
    "ansible-playbook playbooks/resume.yml": ("molecule/default/tests/test_maintenance.py", "playbooks/resume.yml"),
    "ansible-playbook playbooks/rotate.yml": ("molecule/operations/tests/test_operations.py", '"playbooks/rotate.yml"'),
    "ansible-playbook playbooks/status.yml": ("molecule/default/tests/test_playbooks.py", "playbooks/status.yml"),
    "ansible-playbook playbooks/sync.yml": ("molecule/default/tests/test_playbooks.py", '"sync"'),
    "ansible-playbook playbooks/uninstall.yml": ("molecule/operations/tests/test_operations.py", "uninstall=yes"),
    "ansible-playbook playbooks/upgrade.yml": ("molecule/operations/tests/test_operations.py", "playbooks/upgrade.yml"),
    "ansible-playbook playbooks/validate.yml": ("molecule/default/tests/test_playbooks.py", '"validate"'),
    "ansible-playbook site.yml": ("molecule/default/tests/test_playbooks.py", '"site.yml"'),
    "ansible-playbook playbooks/verify_backups.yml": ("molecule/backup/tests/test_backup.py", "verify_backups"),
    "dualjoe alert-test": ("molecule/default/tests/test_pair.py", "alert-test"),
    "dualjoe backup diff": ("tests/unit/test_backup_look.py", "backup_diff.main"),
    "dualjoe backup get": ("tests/unit/test_backup_look.py", "backup_get.main"),
    "dualjoe backup ls": ("tests/unit/test_backup_look.py", "backup_ls.main"),
    "dualjoe epoch reset": ("tests/unit/test_memory.py", '"epoch", "reset"'),
    "dualjoe memory diff": ("tests/unit/test_memory_commands.py", "memory_diff.main"),
    "dualjoe memory divergence": ("tests/unit/test_memory_commands.py", "memory_divergence.main"),
    "dualjoe memory list": ("tests/unit/test_memory_commands.py", "memory_list.main"),
    "dualjoe memory restore": ("molecule/memory/tests/test_restore.py", '"memory", "restore"'),
    "dualjoe pause": ("tests/unit/test_t440_command.py", '"pause"'),
    "dualjoe resume": ("tests/unit/test_t440_command.py", '"resume"'),
    "dualjoe-restore ls": ("tests/unit/test_restore.py", 'command("ls")'),
    "dualjoe-restore plan": ("tests/unit/test_restore.py", 'command("plan"'),
    "dualjoe-restore run": ("tests/unit/test_restore.py", 'command("run"'),
    "mv /var/lib/dualjoe/backups/back": (
        "tests/unit/test_backup_offsite.py",
        "back{node.backups}/offsite",
    ),
    "restic restore": ("tests/unit/test_backup_offsite.py", '"restore", "latest"'),
    "runuser -u openclaw01 -- dualjoe config diff": ("molecule/memory/tests/test_config.py", '"config", "diff"'),
    "runuser -u openclaw01 -- cp": ("tests/unit/test_config_guard.py", "shutil.copy(generation"),
    "runuser -u openclaw01 -- dualjoe config rollback": ("tests/unit/test_config_guard.py", "new.ga.roll_back(name)"),
    "runuser -u openclaw01 -- dualjoe memory restore": ("tests/unit/test_config_guard.py", "memory_restore.main"),
    "runuser -u openclaw01 -- mkdir": ("tests/unit/test_config_guard.py", "generation.mkdir"),
    "runuser -u openclaw01 -- tar": ("tests/unit/test_config_guard.py", '"tar", "--extract"'),
    "systemctl restart dualjoe-guard": ("molecule/memory/tests/test_restore.py", "systemctl restart dualjoe-guard"),
}


def commands() -> Iterator[str]:
    """The commands of all boxes that are not marked."""
    for mark, box in re.findall(
        r"(<!-- untested: [^>]+ -->\n)?```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL
    ):
        if not mark:
            yield from (line.split("  #")[0].strip() for line in box.splitlines())


def test_each_command_is_run_by_a_test_or_marked() -> None:
    found = list(commands())
    assert len(found) > 30, "the page is read"
    assert [each for each in found if not each.startswith(tuple(TESTED))] == []


def inline(page: Path) -> list[str]:
    """The commands of Ansible that stand in the text of a page."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.findall(r"`(ansible-playbook [^`]+)`", text)


def test_each_playbook_in_the_text_is_run_by_a_test() -> None:
    found = inline(PAGE)
    assert len(found) > 15, "the page is read"
    assert [each for each in found if not each.startswith(tuple(TESTED))] == []


@pytest.mark.parametrize("page", [PAGE, ROOT / "README.md"], ids=lambda page: page.name)
def test_each_extra_variable_is_understood_as_it_is_meant(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the shell makes of it must be words that Ansible takes for variables: a blank ends a key=value."""
    told = re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line for box in told for line in box.splitlines() if line.startswith("ansible-playbook")] + inline(page)
    given = 0
    for line in lines:
        words = shlex.split(line, comments=True)
        for value in (words[place + 1] for place, word in enumerate(words) if word == "-e"):
            monkeypatch.setattr("ansible.utils.vars.context.CLIARGS", {"extra_vars": (value,)})
            load_extra_vars.__dict__.pop("extra_vars", None)  # where it keeps its answer
            assert "_raw_params" not in load_extra_vars(DataLoader()), line
            given += 1
    assert given > 0, "the page is read"


def test_the_password_of_the_vault_is_spoken_of_before_it_is_needed() -> None:
    text = PAGE.read_text(encoding="utf-8")
    without = [line for line in re.findall(r"ansible-playbook [^`\n]+", text) if "--ask-vault-pass" not in line]
    assert text.index("ANSIBLE_VAULT_PASSWORD_FILE") < text.index(without[0])


def test_the_table_has_no_command_that_the_page_has_not() -> None:
    found = [*commands(), *inline(PAGE)]
    assert [begin for begin in TESTED if not any(each.startswith(begin) for each in found)] == []


@pytest.mark.parametrize("begin", TESTED)
def test_the_test_is_there(begin: str) -> None:
    file, said = TESTED[begin]
    assert said in (ROOT / file).read_text(encoding="utf-8")
