"""Each command in a box of docs/operations.md is run by a test, or marked: `<!-- untested: why -->` above its box."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/operations.md"
# How a command begins: the file of the test that runs it, and what stands there.
TESTED = {
    "ansible-playbook failback.yml": ("molecule/default/tests/test_playbooks.py", '"failback.yml"'),
    "ansible-playbook failover.yml": ("molecule/default/tests/test_playbooks.py", '"failover.yml", "--check"'),
    "ansible-playbook playbooks/config_rollback.yml": (
        "molecule/memory/tests/test_config.py",
        "playbooks/config_rollback.yml",
    ),
    "ansible-playbook playbooks/drill.yml": ("molecule/backup/tests/test_backup.py", "playbooks/drill.yml"),
    "ansible-playbook playbooks/pause.yml": (
        "molecule/default/tests/test_maintenance.py",
        '"playbooks/pause.yml", "-e"',
    ),
    "ansible-playbook playbooks/preflight.yml": ("tests/unit/test_preflight.py", '"playbooks/preflight.yml"'),
    "ansible-playbook playbooks/rehearse.yml": ("molecule/memory/tests/test_rehearsal.py", "playbooks/rehearse.yml"),
    "ansible-playbook playbooks/resume.yml": ("molecule/default/tests/test_maintenance.py", "playbooks/resume.yml"),
    "ansible-playbook playbooks/rotate.yml": ("molecule/operations/tests/test_operations.py", '"playbooks/rotate.yml"'),
    "ansible-playbook playbooks/status.yml": ("molecule/default/tests/test_playbooks.py", "playbooks/status.yml"),
    "ansible-playbook playbooks/sync.yml": ("molecule/default/tests/test_playbooks.py", '"sync"'),
    "ansible-playbook playbooks/uninstall.yml": ("molecule/operations/tests/test_operations.py", "uninstall=yes"),
    "ansible-playbook playbooks/upgrade.yml": ("molecule/operations/tests/test_operations.py", "playbooks/upgrade.yml"),
    "ansible-playbook playbooks/validate.yml": ("molecule/default/tests/test_playbooks.py", '"validate"'),
    "ansible-playbook site.yml": ("molecule/default/tests/test_playbooks.py", '"site.yml"'),
    "dualjoe alert-test": ("molecule/default/tests/test_pair.py", "alert-test"),
    "dualjoe backup diff": ("tests/unit/test_backup_look.py", "backup_diff.main"),
    "dualjoe backup get": ("tests/unit/test_backup_look.py", "backup_get.main"),
    "dualjoe backup ls": ("tests/unit/test_backup_look.py", "backup_ls.main"),
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


def test_the_table_has_no_command_that_the_page_has_not() -> None:
    found = list(commands())
    assert [begin for begin in TESTED if not any(each.startswith(begin) for each in found)] == []


@pytest.mark.parametrize("begin", TESTED)
def test_the_test_is_there(begin: str) -> None:
    file, said = TESTED[begin]
    assert said in (ROOT / file).read_text(encoding="utf-8")
