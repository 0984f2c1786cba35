"""The command `validate_memory PATH`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dualjoe.memory_settings import NODE, MemorySettings
from dualjoe.rules import RULES, Policy, PolicyError
from dualjoe.validation import CouldNotCheck, validate

GOOD, BAD, NOT_CHECKED = 0, 1, 2


def _epilog() -> str:
    width = max(map(len, RULES))
    lines = (f"  {name:{width}}  {rule.severity:7}  {rule.finds}" for name, rule in RULES.items())
    return "\n".join(["rules:", *lines, "", "Exit codes: 0 good, 1 bad memory, 2 could not check."])


def _settings(policy: Path | None, node: Path) -> MemorySettings:
    """What is asked for. Raises CouldNotCheck."""
    if policy is None and not node.exists():
        return MemorySettings()
    place = policy or node
    try:
        return MemorySettings.load(place)
    except PermissionError:
        if policy is None:
            print(f"validate_memory: {node} is not for this user; the built-in rules are used", file=sys.stderr)
            return MemorySettings()
        raise CouldNotCheck(f"{place}: Permission denied") from None
    except OSError as error:
        raise CouldNotCheck(f"{place}: {error.strerror}") from error
    except ValueError as error:
        raise CouldNotCheck(f"{place}: {error}") from error


def _tuned(policy: Policy, rules: Sequence[str]) -> Policy:
    """With ``rules``, each NAME=SEVERITY. Raises CouldNotCheck."""
    try:
        wanted = Policy.parse({"rules": dict(rule.split("=", 1) for rule in rules)})
    except PolicyError as error:
        raise CouldNotCheck(f"--rule: {error}") from error
    except ValueError as error:
        raise CouldNotCheck("--rule: say it as NAME=SEVERITY") from error
    return replace(policy, rules={**policy.rules, **wanted.rules})


def main(argv: Sequence[str] | None = None, node: Path = NODE) -> int:
    """Check one tree."""
    parser = argparse.ArgumentParser(
        prog="validate_memory",
        description="Is this tree (or file) good memory? Nothing is changed.\n"
        "Of the live folder of a set, that is looked at which a sync would copy.",
        epilog=_epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("path", type=Path, metavar="PATH")
    parser.add_argument("--previous", type=Path, metavar="PATH", help="a good tree of before, to see what was lost")
    parser.add_argument(
        "--policy",
        type=Path,
        metavar="FILE",
        help=f"JSON with any of rules, limits, schema and foreign, or a node's settings; by default {NODE} where it is,"
        " and otherwise what is built in",
    )
    parser.add_argument(
        "--rule",
        action="append",
        default=[],
        metavar="NAME=SEVERITY",
        help="error, warning or off, for this once; may be repeated",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    arguments = parser.parse_args(argv)
    try:
        settings = _settings(arguments.policy, node)
        tree = settings.tree(arguments.path)
        previous = settings.beside(arguments.previous, tree) if arguments.previous else None
        report = validate(tree, previous, _tuned(settings.policy, arguments.rule))
    except CouldNotCheck as error:
        print(f"validate_memory: could not check: {error}", file=sys.stderr)
        return NOT_CHECKED
    if arguments.json:
        print(json.dumps(report.as_dict()))
    else:
        for finding in report.findings:
            print(f"{finding.severity}: {finding}")
        print(f"{'good' if report.good else 'BAD'}: {report.files} files, {report.bytes} bytes in {report.tree}")
    return GOOD if report.good else BAD
