"""The reader of JSON5: what JSON says stays what it is, what people add is taken, and nothing hostile does harm."""

from __future__ import annotations

import contextlib
import json
import math
import random
import time
from typing import Any

import pytest
from dualjoe import json5
from hypothesis import given, settings, strategies

TREES = strategies.recursive(
    strategies.none()
    | strategies.booleans()
    | strategies.integers()
    | strategies.floats(allow_nan=False)
    | strategies.text(),
    lambda inner: strategies.lists(inner) | strategies.dictionaries(strategies.text(), inner),
    max_leaves=20,
)


class Person:
    """Writes a tree as JSON5 in every way that the form allows, by chance."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)

    def write(self, tree: Any) -> str:
        return f"{self.gap()}{self.value(tree)}{self.gap()}"

    def gap(self) -> str:
        comments = ["// a 'person\" wrote } this\n", "/* and\n * that: [ */", "/**/", "//\u2028"]
        return self.chance.choice(["", "", " ", "\n\t", "\u00a0", "\ufeff", "\r\n", *comments])

    def value(self, tree: Any) -> str:
        if isinstance(tree, (dict, list)):
            return self.members(tree)
        if isinstance(tree, str):
            return self.string(tree)
        if isinstance(tree, bool) or tree is None:
            return json.dumps(tree)
        return self.number(tree)

    def members(self, tree: dict[str, Any] | list[Any]) -> str:
        if isinstance(tree, dict):
            each = [f"{self.key(key)}{self.gap()}:{self.gap()}{self.value(item)}" for key, item in tree.items()]
        else:
            each = [self.value(item) for item in tree]
        ends = ("{", "}") if isinstance(tree, dict) else ("[", "]")
        comma = f",{self.gap()}" if each and self.chance.random() < 0.5 else ""
        return ends[0] + self.gap() + f"{self.gap()},{self.gap()}".join(each) + self.gap() + comma + ends[1]

    def key(self, text: str) -> str:
        plain = text.isidentifier() and text.isascii()
        return text if plain and self.chance.random() < 0.7 else self.string(text)

    def string(self, text: str) -> str:
        quote = self.chance.choice("\"'")
        return quote + "".join(self.character(each, quote) for each in text) + quote

    def character(self, each: str, quote: str) -> str:
        ways = []
        if each not in (quote, "\\", "\n", "\r"):
            ways += [each, each, f"\\\n{each}"]
        if each in ("\\", "'", '"'):
            ways.append(f"\\{each}")
        if ord(each) < 256:
            ways.append(f"\\x{ord(each):02X}")
        units = each.encode("utf-16-be", "surrogatepass")
        ways.append("".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2)))
        return self.chance.choice(ways)

    def number(self, number: float) -> str:
        text = repr(number).replace("inf", "Infinity")
        if isinstance(number, int) and number >= 0:
            text = self.chance.choice([text, hex(number), f"+{text}"])
        elif text.startswith("0.") and len(text) > 2 and "e" not in text:
            text = self.chance.choice([text, text[1:]])
        elif text.endswith(".0"):
            text = self.chance.choice([text, text[:-1]])
        return text


@settings(max_examples=100, deadline=None)
@given(
    TREES.filter(lambda tree: "Infinity" not in json.dumps(tree)), strategies.integers(0, 4).map(lambda n: n or None)
)
def test_json_is_read_as_json_reads_it(tree: Any, indent: int | None) -> None:
    text = json.dumps(tree, indent=indent)
    assert json5.loads(text) == json.loads(text)


@settings(max_examples=100, deadline=None)
@given(TREES, strategies.integers())
def test_what_people_write_is_read_back(tree: Any, seed: int) -> None:
    text = Person(seed).write(tree)
    read = json5.loads(text)
    assert read == tree, text
    assert repr(read) == repr(tree) or "-0.0" in repr(tree), "numbers keep their kind"


@settings(max_examples=100, deadline=None)
@given(TREES.filter(lambda tree: isinstance(tree, (dict, list))), strategies.integers(), strategies.data())
def test_what_is_cut_off_is_never_taken_for_whole(tree: Any, seed: int, data: strategies.DataObject) -> None:
    text = Person(seed).value(tree)
    cut = data.draw(strategies.integers(0, len(text) - 1))
    with pytest.raises(json5.Unreadable):
        json5.loads(text[:cut])


@settings(max_examples=100, deadline=None)
@given(strategies.text(alphabet="{}[]:,'\"\\/* \n\tabnutrfx0123+-.eE$\ud83e\u2028"))
def test_noise_is_read_or_refused_and_nothing_else(text: str) -> None:
    with contextlib.suppress(json5.Unreadable):
        json5.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " // nothing\n",
        "{",
        "{]",
        "{a 1}",
        "{a:}",
        "{,}",
        "[,]",
        "[1,,2]",
        "[1 2]",
        "{a:1}}",
        "{} {}",
        "{1a:2}",
        "{a-b:1}",
        "truex",
        "True",
        "undefined",
        "01",
        "0x",
        "0b1",
        "1_000",
        ".",
        "5..",
        "+",
        "--1",
        "1e",
        "'a\nb'",
        '"a',
        "'\\",
        "'\\1'",
        "'\\01'",
        "'\\x4'",
        "'\\u12g4'",
        "/* x",
        "/",
        "{a:/}",
        "#!x\n{}",
    ],
)
def test_what_is_no_json5_is_refused(text: str) -> None:
    with pytest.raises(json5.Unreadable, match=r"^line \d+, column \d+: "):
        json5.loads(text)


def test_a_message_tells_the_place_and_nothing_of_the_text() -> None:
    with pytest.raises(json5.Unreadable) as refused:
        json5.loads('{\n  token: "hunter2hunter2",\n  next: hunter2\n}')
    assert str(refused.value) == "line 3, column 9: expected a value"


@pytest.mark.parametrize("text", ["[" * 100_000, "{a:" * 100_000, "[" * 201 + "]" * 201])
def test_depth_is_bounded(text: str) -> None:
    with pytest.raises(json5.Unreadable, match="200 deep"):
        json5.loads(text)


def test_of_two_equal_keys_the_last_counts() -> None:
    assert json5.loads("{a: 1, 'a': 2, __proto__: 3}") == {"a": 2, "__proto__": 3}


def test_numbers_beyond_json() -> None:
    assert json5.loads("[+1, .5, 5., 0xFf, -0x10, Infinity, -Infinity, 1E3]") == [
        1,
        0.5,
        5.0,
        255,
        -16,
        math.inf,
        -math.inf,
        1000.0,
    ]
    assert math.isnan(json5.loads("NaN"))
    assert json5.loads("9" * 10_000) == math.inf


@pytest.mark.parametrize(
    "text",
    [" " * 1_000_000 + "x", "/* * " * 200_000, "'" + "\\'" * 400_000, "[" + "1," * 300_000, "{a:'" + "\\\n" * 400_000],
    ids=["space", "comment", "escapes", "members", "lines"],
)
def test_a_megabyte_of_anything_takes_seconds_at_most(text: str) -> None:
    began = time.process_time()
    with pytest.raises(json5.Unreadable):
        json5.loads(text)
    assert time.process_time() - began < 10
