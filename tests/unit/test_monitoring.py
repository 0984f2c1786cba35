"""The alert rules and the dashboard ask only for metrics that there are, and the alerts come when they should."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from dualjoe import metrics
from test_metrics import ROOT, promtool

RULES = ROOT / "docs/monitoring/rules.yml"
DASHBOARD = ROOT / "docs/monitoring/dashboard.json"
CASES = Path(__file__).with_name("rules_test.yml")


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"] for rule in group["rules"]]


def expressions(part: Any) -> Iterator[str]:
    """Whatever the dashboard asks of Prometheus."""
    if isinstance(part, dict):
        for name, value in part.items():
            if name in ("expr", "query") and isinstance(value, str):
                yield value
            else:
                yield from expressions(value)
    elif isinstance(part, list):
        for each in part:
            yield from expressions(each)


def asked(texts: Iterator[str]) -> set[str]:
    return {name for text in texts for name in re.findall(r"\bdualjoe_[a-z_]+", text)}


def test_promtool_finds_nothing_wrong_with_the_rules() -> None:
    checked = promtool("check", "rules", "--lint=all", "--lint-fatal", str(RULES))
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_each_alert_comes_when_it_should_and_only_then() -> None:
    tested = promtool("test", "rules", str(CASES))
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_each_alert_has_a_case_in_which_it_comes() -> None:
    cases = CASES.read_text("utf-8")
    comes = set(re.findall(r'alertname="(\w+)"\}\', value: 1', cases)) | set(
        re.findall(r"alertname: (\w+)\n +exp_", cases)
    )
    assert {rule["alert"] for rule in rules()} - comes == set()


def test_each_alert_says_what_to_do() -> None:
    for rule in rules():
        assert set(rule["annotations"]) == {"summary", "description"}
        assert rule["labels"]["severity"] in ("critical", "warning", "info")


def test_rules_and_dashboard_ask_only_for_metrics_that_there_are() -> None:
    of_rules = asked(rule["expr"] for rule in rules())
    of_dashboard = asked(expressions(json.loads(DASHBOARD.read_text("utf-8"))))
    assert of_rules - metrics.names() == set()
    assert of_dashboard - metrics.names() == set()
    assert len(of_dashboard) >= 10


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    board = json.loads(DASHBOARD.read_text("utf-8"))
    assert board["uid"] == "dualjoe"
    places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in board["panels"]]
    assert len(set(places)) == len(places)
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    for panel in board["panels"]:
        assert panel["title"]
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        assert all(target["expr"] for target in panel["targets"])
        assert panel["datasource"]["uid"] == "${datasource}"
