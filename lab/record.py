#!/usr/bin/env python3
"""Record the demo as a picture: docs/failover.svg, which plays in 20 seconds in a browser and on a page of Markdown.

    lab/record.py                 run the demo (make demo), which must see all its steps true, and draw what it prints
    lab/record.py --from FILE     draw what a demo printed before

Only the steps from Joe at home to Joe home again are drawn. The seconds in it are the demo's own; it plays faster.
There is no script in it, and whoever asks for less motion sees all lines at once.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import textwrap
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "failover.svg"
PLAYS_SECONDS = 20
COLUMNS = 88
_CHARACTER, _LINE, _EDGE = 8.43, 20, 20  # in pixels, of a monospaced font of 14
_STEP = re.compile(r" ?\d+\. ")
_FIRST, _LAST = "Joe serves at home", "One Joe, all along"
_STYLE = """
  text { font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; fill: #d6deeb; white-space: pre; }
  .step { fill: #82aaff; font-weight: bold; }
  .seconds { fill: #7f8fa6; }
  g { opacity: 0; animation: shown 0.3s forwards; }
  @keyframes shown { to { opacity: 1; } }
  @media (prefers-reduced-motion: reduce) { g { opacity: 1; animation: none; } }
"""


def steps(printed: str) -> list[list[str]]:
    """The drawn steps of what a demo printed, each as its lines; ValueError where one of them is not there."""
    found: list[list[str]] = []
    for line in printed.splitlines():
        if _STEP.match(line):
            found.append([line])
        elif found and line.startswith("    "):
            found[-1].append(line)
    titles = [step[0] for step in found]
    try:
        begin = next(number for number, title in enumerate(titles) if _FIRST in title)
        end = next(number for number, title in enumerate(titles) if _LAST in title)
    except StopIteration:
        raise ValueError(f"this is no demo that went to its end: it has no '{_FIRST}' or no '{_LAST}'") from None
    return found[begin : end + 1]


def drawn(printed: str) -> str:
    """The picture of what a demo printed. Raises ValueError."""
    shown = [[part for line in step for part in _wrapped(line)] for step in steps(printed)]
    count = sum(len(step) for step in shown)
    groups, row, began = [], 0, 0.0
    for step in shown:
        groups.append(f'<g style="animation-delay: {began:.1f}s">')
        for line in step:
            kind = "step" if _STEP.match(line) else "seconds" if re.fullmatch(r" +\([\d.]+ s\)", line) else "said"
            y = _EDGE + _LINE * (row + 1) - 6
            groups.append(f'<text class="{kind}" x="{_EDGE}" y="{y}" xml:space="preserve">{escape(line)}</text>')
            row += 1
        groups.append("</g>")
        began += PLAYS_SECONDS * len(step) / count
    width, height = round(COLUMNS * _CHARACTER) + 2 * _EDGE, count * _LINE + 2 * _EDGE
    size = f'width="{width}" height="{height}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {size} role="img">',
            "<title>PC-A is killed, PC-B takes over, and Joe answers in the same chat; then he goes home</title>",
            f"<style>{_STYLE}</style>",
            f'<rect {size} rx="8" fill="#0b1220"/>',
            *groups,
            "</svg>\n",
        ]
    )


def _wrapped(line: str) -> list[str]:
    indent = " " * (len(line) - len(line.lstrip()) if line.strip() else 0)
    return textwrap.wrap(line, COLUMNS, subsequent_indent=f"{indent}  ", drop_whitespace=True) or [""]


def main() -> int:
    """0 when the picture was written, 1 when there is nothing to draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="file", type=Path, help="what a demo printed")
    given = parser.parse_args().file
    if given:
        printed = given.read_text(encoding="utf-8")
    else:
        done = subprocess.run(
            [sys.executable, ROOT / "lab" / "demo.py"], stdout=subprocess.PIPE, text=True, check=False
        )
        printed = done.stdout
        print(printed, end="")
    try:
        PICTURE.write_text(drawn(printed), encoding="utf-8")
    except ValueError as error:
        print(f"record.py: {error}", file=sys.stderr)
        return 1
    print(f"{PICTURE.relative_to(ROOT)} is written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
