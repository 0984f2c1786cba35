"""What the benchmark says of what it measured, and that a failed round costs only itself."""

from __future__ import annotations

import json
import random
from pathlib import Path

import machines
import pytest
import takeover
import yaml
from contenders import Contender, Roles
from pair import ROOT
from results import Move, Results, Takeover


def results(*takeovers: Takeover) -> Results:
    found = Results(seed=1, gateway="stand-in", made_at="2026-01-01T00:00:00Z", commit="abc", host="2 cores")
    found.takeovers.extend(takeovers)
    return found


def death(start: float, heard: float | None, name: str = "dual-joe fast") -> Takeover:
    return Takeover(name, 1, "pc-a", 0.1, None if heard is None else heard - start, start, heard, start + 0.1)


@pytest.mark.parametrize(
    ("deaths", "kept", "says"),
    [
        ([death(3.0, 3.4), death(3.3, 3.5)], True, "| dual-joe fast | 2 | 3.30 | 3.50 | 4.00 | yes |"),
        ([death(3.0, 3.4), death(3.6, 4.1)], False, "| dual-joe fast | 2 | 3.60 | 4.10 | 4.00 | NO |"),
        ([death(4.2, None), death(3.3, 3.5)], False, "| dual-joe fast | 1 | 4.20 | 3.50 | 4.00 | NO |"),
        ([death(3.0, None)], None, "| dual-joe fast | 0 | 3.00 |  | 4.00 | not measured |"),
        ([death(3.0, None, "keepalived")], None, "| dual-joe fast | 0 |  |  | 4.00 | not measured |"),
    ],
)
def test_a_limit_is_compared_with_the_worst_that_was_measured(
    deaths: list[Takeover], kept: bool | None, says: str
) -> None:
    found = results(*deaths)
    found.limits["dual-joe fast"] = 4.0
    assert found.verdicts()["dual-joe fast"]["kept"] is kept
    assert says in found.markdown()


def test_moves_alone_are_a_result(tmp_path: Path) -> None:
    found = results()
    found.moves.append(Move("stop + start", 1, "a", 0.5, 2.0, 1.5, {"ready": 2.0}))
    found.moves.append(Move("stop + start", 2, "a", 0.1, 2.0, 1.5, {"stopped": 1.0, "ready": 2.0}))
    page = found.write(tmp_path).read_text()
    assert "| stop + start | 2 | 2.00 |" in page
    assert "| stop + start: stopped | 1.00 |" in page
    assert "1 of 2 began while the computer was more than 25% busy" in page


class Fake(Contender):
    """Fails in the rounds that are named."""

    name, setting, beat, nodes, limit = "fake", "as ever", 1.0, ("a", "b"), 4.0

    def __init__(self, *failing: int) -> None:
        self.failing, self.mended, self.rounds = failing, 0, 0

    def up(self) -> None:
        if 0 in self.failing:
            raise RuntimeError("it does not start")

    def fit(self, _roles: Roles) -> bool:
        return True

    def mend(self) -> None:
        self.mended += 1

    def die(self, number: int) -> Takeover:
        self.rounds += 1
        if number in self.failing:
            raise TimeoutError("not within 120 s: ready")
        return death(3.0, 3.5, self.name)


def turns(monkeypatch: pytest.MonkeyPatch, folder: Path, fake: Fake, rounds: int) -> Results:
    monkeypatch.setattr(takeover, "die", lambda contender, number, _phase: contender.die(number))
    bench = takeover.Bench(results(), folder)
    bench.take_turns(bench.set_up([fake]), rounds, random.Random(1))
    return bench.results


def test_a_failed_round_costs_only_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = Fake(2)
    found = turns(monkeypatch, tmp_path, fake, 3)
    assert (len(found.takeovers), fake.mended) == (2, 1)
    assert found.failures == ["2. fake: not within 120 s: ready"]
    written = json.loads((tmp_path / "takeover-stand-in.json").read_text())
    assert len(written["takeovers"]) == 2
    assert written["settings"] == {"fake": "as ever"}


def test_who_fails_twice_in_a_row_takes_no_further_part(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = Fake(2, 3)
    assert len(turns(monkeypatch, tmp_path, fake, 7).takeovers) == 1
    assert fake.rounds == 3


def test_who_cannot_be_set_up_takes_no_part(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = turns(monkeypatch, tmp_path, Fake(0), 2)
    assert (found.takeovers, found.failures) == ([], ["setting up fake: it does not start"])


@pytest.mark.parametrize("rounds", [1, 3, 7])
def test_each_part_of_a_heartbeat_has_its_death(rounds: int) -> None:
    found = sorted(takeover.phases(rounds, random.Random(5)))
    assert found[0] == 0
    assert [int(phase * rounds) for phase in found] == list(range(rounds))


def test_the_benchmark_s_containers_get_what_the_lab_s_get(monkeypatch: pytest.MonkeyPatch) -> None:
    class Told:
        stdout = "[name=apparmor name=seccomp,profile=default]"

    monkeypatch.setattr(machines, "run", lambda *_command: Told)
    wanted = yaml.safe_load((ROOT / "lab" / "vars.yml").read_text())["lab_systemd"]
    given = [flag.partition("=")[2] for flag in machines._systemd_flags()]
    assert sorted(given) == sorted(
        [wanted.pop("cgroupns_mode"), *(value for values in wanted.values() for value in values)]
    )
    create = (ROOT / "lab" / "create.yml").read_text()
    assert all(f"lab_systemd.{name}" in create for name in wanted)
