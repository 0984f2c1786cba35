"""Names of files as people may be shown them."""

from __future__ import annotations

import re

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def shown(path: object) -> str:
    """A path as text for one line of every terminal: bytes that are no UTF-8, and characters that would move the cursor
    or turn the text around, are written as escapes."""
    text = str(path).encode("utf-8", "backslashreplace").decode("utf-8")
    return _UNPRINTABLE.sub(lambda found: ascii(found.group())[1:-1], text)
