"""What the check runner says of a stage that failed: the log of a whole run is long, and its end is read first."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(name="runner", scope="module")
def _runner() -> ModuleType:
    path = Path(__file__).resolve().parents[1] / "run.py"
    spec = importlib.util.spec_from_file_location("check_runner", path)
    assert spec is not None
    assert spec.loader is not None
    runner = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = runner  # dataclasses look their module up
    spec.loader.exec_module(runner)
    return runner


def test_a_failed_stage_names_what_failed(runner: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_good():\n    pass\n\ndef test_bad():\n    assert 1 == 2\n")
    command = ("pytest", "--quiet", "--rootdir", str(tmp_path), "-c", "/dev/null", "--color=yes", str(tmp_path))
    result = runner.run(runner.Stage("it", "unit", command))
    assert not result.passed
    assert len(result.trouble) == 1
    assert "test_it.py::test_bad" in result.trouble[0]
    assert "assert 1 == 2" in result.trouble[0]


def test_a_stage_that_names_nothing_shows_its_end(runner: ModuleType) -> None:
    command = ("sh", "-c", "seq 100; echo; echo the disk is full; exit 3")
    result = runner.run(runner.Stage("it", "lint", command))
    assert not result.passed
    assert result.trouble == ("96", "97", "98", "99", "100", "the disk is full")


def test_a_stage_that_passed_has_nothing_to_say(runner: ModuleType) -> None:
    result = runner.run(runner.Stage("it", "lint", ("sh", "-c", "echo FAILED a::b")), beside=True)
    assert result.passed
    assert result.trouble == ()


def test_the_end_of_a_run_says_what_failed(
    runner: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = runner.Stage("good", "lint", ("true",))
    bad = runner.Stage("bad", "molecule", ("sh", "-c", "echo 'fatal: [pc-a]: FAILED! => no room'; seq 50; exit 1"))
    monkeypatch.setattr(runner, "stages", lambda _scratch: (good, bad))
    monkeypatch.setattr(sys, "argv", ["run.py"])
    assert runner.main() == 1
    end = capsys.readouterr().out.splitlines()[-4:]
    assert end == ["bad:", "  fatal: [pc-a]: FAILED! => no room", "", "1 passed, 1 failed"]
