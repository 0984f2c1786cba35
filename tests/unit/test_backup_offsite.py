"""The fourth copy: real restic, with a repository in a folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dualjoe_jobs import backup_offsite, job, restic
from dualjoe_jobs.rsync import Deadline
from dualjoe_jobs.verified import Verified

PASSWORD = "geese-of-ada"
FIRST, SECOND = "20261124T060000Z", "20261124T070000Z"

pytestmark = pytest.mark.skipif(shutil.which("restic") is None, reason="restic is not installed")


class Node:
    """A node with snapshots, and a repository elsewhere."""

    def __init__(self, place: Path, template: Path) -> None:
        self.backups = place / "backups"
        self.results = place / "jobs"
        self.settings = place / "offsite.json"
        self.repository = place / "elsewhere"
        for folder in (self.backups / "snapshots", self.results):
            folder.mkdir(parents=True)
        shutil.copytree(template, self.repository)
        self.configure()
        self.take(FIRST, notes="eleven geese", sums="11")

    def configure(self, **changes: Any) -> None:
        settings = {"repository": str(self.repository), "password": PASSWORD, "environment": {}, "keep": {}}
        self.settings.write_text(json.dumps({**settings, "init": False, "host": "pc-a", **changes}))

    def take(self, name: str, **files: str) -> None:
        """A snapshot; what is as in the one before is shared with it."""
        before = sorted((self.backups / "snapshots").iterdir())
        data = self.backups / "snapshots" / name / "box/data"
        data.mkdir(parents=True)
        for file, text in files.items():
            old = before[-1] / "box/data" / file if before else data
            if old.is_file() and old.read_text() == text:
                os.link(old, data / file)
            else:
                (data / file).write_text(text)

    def send(self) -> int:
        return backup_offsite.run(self.settings, self.backups, self.results)

    @property
    def result(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads((self.results / "backup-offsite.json").read_text())
        return told

    def restic(self, *words: str) -> str:
        environment = {**os.environ, "RESTIC_PASSWORD": PASSWORD, "RESTIC_REPOSITORY": str(self.repository)}
        return subprocess.run(["restic", *words], check=True, capture_output=True, text=True, env=environment).stdout

    @property
    def there(self) -> list[dict[str, Any]]:
        told: list[dict[str, Any]] = json.loads(self.restic("snapshots", "--json"))
        return sorted(told, key=lambda one: one["time"])


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty repository: making one takes a second."""
    place = tmp_path_factory.mktemp("restic") / "empty"
    environment = {**os.environ, "RESTIC_PASSWORD": PASSWORD, "RESTIC_REPOSITORY": str(place)}
    subprocess.run(["restic", "--quiet", "init"], check=True, env=environment)
    return place


@pytest.fixture
def node(tmp_path: Path, template: Path) -> Iterator[Node]:
    made = Node(tmp_path, template)
    yield made
    assert not (made.backups / "offsite").exists()


def test_the_newest_good_snapshot_is_sent_and_comes_back(node: Node) -> None:
    node.take(SECOND, notes="eleven geese", sums="12")
    node.take("20261124T080000Z", notes="rotten", sums="13")
    Verified(damaged={"20261124T080000Z": ["box/data/notes"]}).save(node.backups)
    assert node.send() == job.DONE
    assert (node.result["generation"], node.result["captured_at"]) == (SECOND, "2026-11-24T07:00:00Z")
    (sent,) = node.there
    assert (sent["hostname"], sent["tags"], sent["time"]) == ("pc-a", ["dualjoe"], "2026-11-24T07:00:00Z")
    lost = node.backups / "snapshots" / SECOND
    shutil.rmtree(lost)
    node.restic("restore", "latest", "--target", str(node.backups / "back"))
    Path(f"{node.backups}/back{node.backups}/offsite").rename(lost)
    assert {path.name: path.read_text() for path in (lost / "box/data").iterdir()} == {
        "notes": "eleven geese",
        "sums": "12",
    }


def test_only_what_is_new_is_read_and_what_is_kept_no_more_goes(node: Node) -> None:
    node.configure(keep={"last": 1})
    assert node.send() == job.DONE
    node.take(SECOND, notes="eleven geese", sums="12")
    assert node.send() == job.DONE
    (sent,) = node.there
    assert sent["time"] == "2026-11-24T07:00:00Z"
    assert "parent" in sent


def test_where_there_is_no_repository_one_is_made_only_when_that_is_asked_for(node: Node) -> None:
    shutil.rmtree(node.repository)
    assert node.send() == job.FAILED
    assert "there is no repository" in node.result["message"]
    assert not node.repository.exists()
    node.configure(init=True)
    assert node.send() == job.DONE


def test_a_wrong_password_is_told_in_words_and_no_secret_with_it(node: Node) -> None:
    node.configure(password="geese-of-eve", environment={"AWS_SECRET_ACCESS_KEY": "password found"})
    assert node.send() == job.FAILED
    assert node.result["message"].startswith("restic cat: the password is not that of the repository: ")
    assert not any(secret in node.result["message"] for secret in (str(node.repository), "geese", "password found"))


def test_each_week_the_repository_is_checked_and_another_part_is_read(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def called(_self: restic.Restic, *words: str) -> str:
        calls.append(" ".join(words))
        return ""

    monkeypatch.setattr(restic.Restic, "run", called)
    for _ in range(2):
        node.send()
    assert [call for call in calls if call.startswith("check")] == ["check --read-data-subset=1/12"]
    assert "checked, and 1/12" not in node.result["message"]
    state = json.loads((node.backups / "offsite.json").read_text())
    (node.backups / "offsite.json").write_text(json.dumps({**state, "checked_at": "2026-01-01T00:00:00Z"}))
    calls.clear()
    node.configure(keep={"daily": 7})
    node.send()
    assert [call.partition(" ")[0] for call in calls] == ["cat", "backup", "check", "forget"]
    assert calls[2] == "check --read-data-subset=2/12"
    assert calls[3].endswith("--keep-daily 7 --prune")


def test_damage_there_fails_the_run_and_nothing_is_removed(node: Node) -> None:
    assert node.send() == job.DONE
    (node.backups / "offsite.json").unlink()
    (pack,) = [path for path in (node.repository / "data").rglob("*") if path.is_file()][:1]
    pack.chmod(0o600)
    os.truncate(pack, pack.stat().st_size // 2)
    node.configure(keep={"last": 1})
    node.take(SECOND, notes="twelve geese", sums="12")
    assert node.send() == job.FAILED
    assert node.result["message"].startswith("restic ")
    assert len(node.there) == 2


def test_without_a_snapshot_there_is_nothing_to_send(node: Node) -> None:
    shutil.rmtree(node.backups / "snapshots" / FIRST)
    assert node.send() == job.FAILED
    assert node.result["message"].startswith("there is no good snapshot yet")


def test_settings_that_make_no_sense_are_told_without_what_is_in_them(node: Node) -> None:
    node.settings.write_text('{"password": "geese-of-ada"}')
    assert node.send() == job.FAILED
    assert node.result["message"] == f"{node.settings} cannot be used (KeyError); run site.yml again"


# What restic answers, of each version


class Fake:
    """A program restic that answers as a test says, and writes down what it was asked."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.place = place
        monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")
        monkeypatch.setattr(restic, "_AGAIN_SECONDS", 0.0)

    def answers(self, *replies: tuple[int, str]) -> None:
        lines = [f"{code}) echo '{said}' >&2; exit {code};;" for code, said in replies]
        cases = "\n".join(f"{number}) {line.partition(') ')[2]}" for number, line in enumerate(lines, 1))
        script = f'#!/bin/sh\necho "$*" >> {self.place}/asked\ncase $(wc -l < {self.place}/asked) in\n{cases}\nesac\n'
        (self.place / "restic").write_text(script)
        (self.place / "restic").chmod(0o755)

    @property
    def asked(self) -> list[str]:
        return (self.place / "asked").read_text().splitlines()


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    return Fake(tmp_path, monkeypatch)


def client(place: Path) -> restic.Restic:
    return restic.Restic("rest:https://ada:pw@example/", PASSWORD, {}, place / "cache", Deadline(60))


@pytest.mark.parametrize(
    ("code", "said", "meant"),
    [
        (1, "Fatal: something", "ended with 1"),
        (3, "at least one source file could not be read", "some files could not be read"),
        (10, "", "there is no repository"),
        (1, "Is there a repository at the following location?", "there is no repository"),
        (12, "", "the password is not that of the repository"),
        (1, "Fatal: wrong password or no key found", "the password is not that of the repository"),
    ],
)
def test_what_restic_s_exit_codes_mean(fake: Fake, tmp_path: Path, code: int, said: str, meant: str) -> None:
    fake.answers((code, said))
    with pytest.raises(restic.ResticFailed, match=f"^restic backup: {meant}"):
        client(tmp_path).run("backup")


@pytest.mark.parametrize("locked", [(11, ""), (1, "unable to create lock: repository is already locked by PID 1")])
def test_a_lock_that_nobody_holds_is_removed_and_another_is_waited_for(
    fake: Fake, tmp_path: Path, locked: tuple[int, str]
) -> None:
    fake.answers(locked, (0, ""), locked, (0, ""), (0, ""))
    client(tmp_path).run("backup", "x")
    assert fake.asked == ["backup x", "unlock", "backup x", "unlock", "backup x"]


def test_a_repository_that_stays_locked_is_told(fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restic, "_LOCKED_SECONDS", 0.0)
    fake.answers((11, "locked by rest:https://ada:pw@example/"))
    with pytest.raises(restic.ResticFailed, match=r"somebody else is using the repository: locked by [*]{3}$"):
        client(tmp_path).run("backup")


def test_no_secret_stands_on_a_command_line(fake: Fake, tmp_path: Path) -> None:
    fake.answers((0, ""))
    client(tmp_path).run("backup", "--host", "pc-a")
    assert fake.asked == ["backup --host pc-a"]
