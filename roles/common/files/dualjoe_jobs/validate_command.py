"""The command `validate_memory PATH`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from dualjoe.validation import CouldNotCheck, validate

GOOD, BAD, NOT_CHECKED = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Check one tree."""
    parser = argparse.ArgumentParser(
        prog="validate_memory",
        description="Is this tree (or file) good memory? Nothing is changed.",
        epilog="Exit codes: 0 good, 1 bad memory, 2 could not check.",
    )
    parser.add_argument("path", type=Path, metavar="PATH")
    parser.add_argument("--previous", type=Path, metavar="PATH", help="a good tree of before, to see what was lost")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    arguments = parser.parse_args(argv)
    try:
        report = validate(arguments.path, arguments.previous)
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
