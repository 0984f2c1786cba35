"""Names of files as people are shown them."""

from __future__ import annotations

import pytest
from dualjoe.names import shown


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Tagebuch für Ödön 🪿.md", "Tagebuch für Ödön 🪿.md"),
        ("two\nlines", "two\\nlines"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\udcff", "\\udcff"),
        ("gnp.\u202edm", "gnp.\\u202edm"),
    ],
)
def test_a_name_is_one_line_of_text(name: str, text: str) -> None:
    assert shown(name) == text
