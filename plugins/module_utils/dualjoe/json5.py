"""Read JSON5 (json5.org), the form in which people write OpenClaw's configuration: JSON with comments, trailing commas,
keys without quotes, single quotes, and some more ways to write a number. Pure.

A text goes in, the tree that ``json.loads`` would give comes out. Of an object that has a key twice the last counts.
"""

from __future__ import annotations

import re
from typing import Any

_MOST_DEPTH = 200
_SPACE = r"[\s\ufeff]"
_SKIP = re.compile(rf"(?:{_SPACE}+|//[^\n\r\u2028\u2029]*|/\*.*?\*/)*", re.DOTALL)
_KEY = re.compile(r"(?:[^\W\d]|\$|\\u[0-9a-fA-F]{4})(?:[\w$\u200c\u200d]|\\u[0-9a-fA-F]{4})*")
_WORD = re.compile(r"[\w$]+")
_NUMBER = re.compile(
    r"([+-]?)(?:(Infinity|NaN)|0[xX]([0-9a-fA-F]+)|((?:0|[1-9][0-9]*)(\.[0-9]*)?|(\.[0-9]+))([eE][+-]?[0-9]+)?)(?![\w$.])"
)
_PLAIN = {quote: re.compile(rf"[^{quote}\\\n\r]+") for quote in "\"'"}
_HEX = {"x": re.compile(r"[0-9a-fA-F]{2}"), "u": re.compile(r"[0-9a-fA-F]{4}")}
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "0": "\0"}
_LINE_ENDS = ("\r\n", "\n", "\r", "\u2028", "\u2029")
_WORDS = {"true": True, "false": False, "null": None}
_PAIR = re.compile(r"[\ud800-\udbff][\udc00-\udfff]")


class Unreadable(ValueError):
    """The text is no JSON5. The message tells where and what was expected, and repeats nothing of the text."""


def loads(text: str) -> Any:
    """The tree that ``text`` stands for. Raises Unreadable."""
    reader = _Reader(text)
    tree = reader.value(0)
    if reader.peek():
        raise reader.error("expected the end")
    return tree


class _Reader:
    """Reads from ``at`` on; each method leaves that behind what it has read."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def error(self, message: str) -> Unreadable:
        before = self.text[: self.at]
        line = before.count("\n") + 1
        column = self.at - (before.rfind("\n") + 1) + 1
        return Unreadable(f"line {line}, column {column}: {message}")

    def peek(self) -> str:
        """The next character that counts, or nothing at the end."""
        skipped = _SKIP.match(self.text, self.at)
        assert skipped is not None  # it fits nothing as well
        self.at = skipped.end()
        if self.text.startswith("/*", self.at):
            raise self.error("a comment that does not end")
        return self.text[self.at : self.at + 1]

    def value(self, depth: int) -> Any:
        first = self.peek()
        if first in ("{", "["):
            if depth == _MOST_DEPTH:
                raise self.error(f"nested more than {_MOST_DEPTH} deep")
            return self._object(depth) if first == "{" else self._array(depth)
        if first in ('"', "'"):
            return self._string(first)
        number = _NUMBER.match(self.text, self.at)
        if number:
            self.at = number.end()
            return _number(number)
        word = _WORD.match(self.text, self.at)
        if word is None or word[0] not in _WORDS:
            raise self.error("expected a value" if first else "the text ends too early")
        self.at = word.end()
        return _WORDS[word[0]]

    def _more(self, end: str) -> bool:
        """After a member: whether another may follow. Both the comma and the end are read."""
        after = self.peek()
        if after not in (",", end) or not after:
            raise self.error(f"expected a comma or {end}" if after else "the text ends too early")
        self.at += 1
        return after == ","

    def _object(self, depth: int) -> dict[str, Any]:
        self.at += 1
        found: dict[str, Any] = {}
        while True:
            first = self.peek()
            if first == "}":
                self.at += 1
                return found
            key = self._string(first) if first in ('"', "'") else self._bare_key(first)
            if self.peek() != ":":
                raise self.error("expected a colon")
            self.at += 1
            found[key] = self.value(depth + 1)
            if not self._more("}"):
                return found

    def _array(self, depth: int) -> list[Any]:
        self.at += 1
        found: list[Any] = []
        while self.peek() != "]":
            found.append(self.value(depth + 1))
            if not self._more("]"):
                return found
        self.at += 1
        return found

    def _bare_key(self, first: str) -> str:
        key = _KEY.match(self.text, self.at)
        if key is None:
            raise self.error("expected a key" if first else "the text ends too early")
        self.at = key.end()
        return re.sub(r"\\u(....)", lambda escape: chr(int(escape[1], 16)), key[0])

    def _string(self, quote: str) -> str:
        self.at += 1
        parts: list[str] = []
        while True:
            plain = _PLAIN[quote].match(self.text, self.at)
            if plain:
                parts.append(plain[0])
                self.at = plain.end()
            here = self.text[self.at : self.at + 1]
            if here == quote:
                self.at += 1
                # JSON writes what is beyond 16 bits as two escapes.
                return _PAIR.sub(lambda two: two[0].encode("utf-16", "surrogatepass").decode("utf-16"), "".join(parts))
            if here != "\\":
                raise self.error("a string that does not end")
            parts.append(self._escape())

    def _escape(self) -> str:
        begin, self.at = self.at, self.at + 1
        kind = self.text[self.at : self.at + 1]
        for end in _LINE_ENDS:
            if self.text.startswith(end, self.at):
                self.at += len(end)
                return ""
        self.at += 1
        if kind in _HEX:
            digits = _HEX[kind].match(self.text, self.at)
            if digits is None:
                self.at = begin
                raise self.error("a bad escape")
            self.at = digits.end()
            return chr(int(digits[0], 16))
        if not kind or kind in "123456789" or (kind == "0" and self.text[self.at : self.at + 1].isdigit()):
            self.at = begin
            raise self.error("a bad escape")
        return _ESCAPES.get(kind, kind)


def _number(found: re.Match[str]) -> int | float:
    sign, word, hexadecimal, decimal, fraction, bare_fraction, exponent = found.groups()
    if hexadecimal:
        size: int | float = int(hexadecimal, 16)
    elif word or fraction or bare_fraction or exponent or len(decimal) > 300:  # int() refuses thousands of digits
        size = float(word or found[0].lstrip("+-"))
    else:
        size = int(decimal)
    return -size if sign == "-" else size
