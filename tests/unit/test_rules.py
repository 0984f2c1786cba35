"""The table of rules, and how a policy tunes it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from dualjoe.rules import BUILT_IN, RULES, SEVERITIES, KeyFile, Limits, Policy, PolicyError
from memory_pair import DEFAULTS, ROOT

ROLE = ROOT / "roles/memory_sync"
SETTINGS = yaml.safe_load((ROLE / "vars/main.yml").read_text(encoding="utf-8"))


def test_the_role_knows_the_same_rules() -> None:
    assert SETTINGS["_memory_sync_rule_names"] == list(RULES)


def test_the_role_s_defaults_are_what_is_built_in() -> None:
    parts = {name: DEFAULTS[f"memory_sync_{name}"] for name in ("rules", "schema", "foreign")}
    limits = {name: DEFAULTS[f"memory_sync_{name}"] for name in vars(Limits())}
    assert Policy.parse({**parts, "limits": limits}).fingerprint == BUILT_IN.fingerprint
    assert {*SETTINGS["_memory_sync_settings"]["policy"]} == {"limits", *parts}


def test_operations_tell_of_each_rule_as_the_table_does() -> None:
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    for name, rule in RULES.items():
        assert f"| `{name}` | {rule.severity} | {rule.finds} |" in page


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("severity", SEVERITIES)
def test_each_rule_can_be_set(name: str, severity: str) -> None:
    assert Policy.parse({"rules": {name: severity}}).severity(name, "MEMORY.md") == severity


def test_yaml_s_off_is_off() -> None:
    assert Policy.parse({"rules": yaml.safe_load("front_matter: off")}).severity("front_matter", "a.md") == "off"


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ([], "the policy must be a mapping with any of: rules, limits, schema, foreign"),
        ({"rule": {}}, "the policy has no rule; there are: rules, limits, schema, foreign"),
        ({"rules": {"nulls": "off"}}, f"rules has no nulls; there are: {', '.join(RULES)}"),
        ({"rules": {"nul": "fatal"}}, "rules.nul is 'fatal'; it can be: error, warning, off"),
        ({"rules": {"nul": True}}, "rules.nul is True"),
        ({"limits": {"gone_share": 2}}, "limits.gone_share is 2; it must be a number above 0 and at most 1"),
        ({"limits": {"gone_share": "half"}}, "limits.gone_share is 'half'"),
        ({"schema": {}}, "schema must be a list"),
        ({"schema": [{"required": True}]}, "schema[0].path must be a pattern"),
        ({"schema": [{"path": "/MEMORY.md"}]}, "schema[0].path: '/MEMORY.md' is no pattern"),
        ({"schema": [{"path": "a", "heading": "x"}]}, "schema[0] has no heading; there are: path, required"),
        ({"schema": [{"path": "a", "required": "yes"}]}, "schema[0].required must be true or false"),
        ({"schema": [{"path": "a", "min_bytes": -1}]}, "schema[0].min_bytes must be a number of bytes"),
        ({"schema": [{"path": "a", "headings": "# A"}]}, "schema[0].headings must be a list of texts"),
        ({"foreign": {"include": ["../x"]}}, "foreign: '../x' is no pattern"),
        ({"foreign": {"include": "media/**"}}, "foreign.include must be a list of texts"),
    ],
)
def test_what_makes_no_sense_is_told(raw: object, says: str) -> None:
    with pytest.raises(PolicyError) as caught:
        Policy.parse(raw)
    assert says in str(caught.value)


def test_each_mistake_is_told_at_once() -> None:
    with pytest.raises(PolicyError) as caught:
        Policy.parse({"rules": {"x": "off"}, "limits": {"y": 1}, "schema": 3})
    assert [word in str(caught.value) for word in ("no x", "no y", "a list")] == [True] * 3


def test_what_ansible_leaves_empty_is_left_out() -> None:
    told = {"path": "a", "required": None, "min_bytes": None, "headings": None, "front_matter": None}
    assert Policy.parse({"schema": [told], "foreign": {"include": None, "exclude": None}}).schema == (
        KeyFile("a", headings=(), front_matter=()),
    )


@pytest.mark.parametrize(
    "other",
    [
        {"rules": {"json": "off"}},
        {"limits": {"rows_share": 0.4}},
        {"schema": []},
        {"foreign": {"include": ["media/**"]}},
    ],
)
def test_another_policy_has_another_fingerprint(other: dict[str, Any]) -> None:
    assert Policy.parse(other).fingerprint != BUILT_IN.fingerprint
    assert Policy.parse(other).fingerprint == Policy.parse(other).fingerprint


@pytest.mark.parametrize(
    ("path", "foreign"),
    [
        ("media/inbound/a.json", True),
        ("workspace/projects/site/tsconfig.json", True),
        ("workspace/.git/COMMIT_EDITMSG", True),
        ("workspace/MEMORY.md", False),
        ("workspace/memory/2026-11-25.md", False),
        ("workspace/memory/dreaming/deep/a.md", False),
        ("agents/main/MEMORY.md", False),
        ("state/openclaw.sqlite", False),
    ],
)
def test_what_is_foreign(path: str, foreign: bool) -> None:
    assert BUILT_IN.severity("nul", path) == ("warning" if foreign else "error")


def test_without_a_pattern_nothing_is_foreign() -> None:
    policy = Policy.parse({"foreign": {"include": []}})
    assert {policy.severity("nul", path) for path in ("media/a.txt", "a.txt", "workspace/x/a.md")} == {"error"}


def test_foreign_files_are_no_worse_than_the_user_says() -> None:
    assert Policy.parse({"rules": {"nul": "off"}}).severity("nul", "media/a.txt") == "off"
