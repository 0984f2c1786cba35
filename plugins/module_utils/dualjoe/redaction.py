"""Texts and settings without their secrets, so that they can be shown to strangers. Pure.

A secret is what is known to be one, what has the form of one, and what is called one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

MARK = "<removed>"
SHORTEST = 8  # what is shorter is in texts that are no secrets as well

_SECRET = "token|secret|password|passwd|passphrase|api_?-?key|private_?-?key|credential|authorization|cookie|chat_id"
_NAMED = rf"[\w-]*(?:{_SECRET})[\w-]*"
_NAME = re.compile(rf"{_NAMED}|ping|url", re.IGNORECASE)
_FORMS = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), MARK),
    (re.compile(r"(\w://)[^\s/@\"']+@"), rf"\1{MARK}@"),  # user and password of a URL
    (re.compile(r"(https?://[^\s?\"']+\?)[^\s\"']+"), rf"\1{MARK}"),
    (re.compile(r"\d{4,}:[\w-]{20,}"), MARK),  # a Telegram bot's
    (re.compile(rf"({_NAMED}[\"']?\s*[:=]\s*[\"']?)(?:(?:bearer|basic)\s+)?[^\s\"',;]+", re.IGNORECASE), rf"\1{MARK}"),
    (re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{8,}", re.IGNORECASE), rf"\1 {MARK}"),
    (re.compile(r"\b(?:sk|pk|rk|gh[opsu]|glpat|github_pat|xox[abprs]|AKIA|AIza|ya29)[-_.\w]{12,}"), MARK),
    (re.compile(r"\$2[aby]\$\d\d\$[./\w]{53}"), MARK),  # a password's bcrypt hash
    (re.compile(r"[\w+=-]{40,}"), MARK),
)


def of_text(text: str, known: Iterable[str] = ()) -> str:
    """The text without them. ``known``: secrets by their value."""
    for secret in sorted(known, key=len, reverse=True):
        text = text.replace(secret, MARK)
    for form, put in _FORMS:
        text = form.sub(put, text)
    return text


def of_tree(tree: Any, known: Iterable[str] = ()) -> Any:
    """The same of what JSON can hold; a setting that is called a secret has no value any more."""
    known = tuple(known)
    if isinstance(tree, Mapping):
        return {
            of_text(str(name), known): MARK if _NAME.fullmatch(str(name)) and value else of_tree(value, known)
            for name, value in tree.items()
        }
    if isinstance(tree, (list, tuple)):
        return [of_tree(value, known) for value in tree]
    return of_text(tree, known) if isinstance(tree, str) else tree


def named(tree: Any) -> Iterator[str]:
    """The values of settings that are called secrets, so that they are known wherever else they stand."""
    if isinstance(tree, Mapping):
        for name, value in tree.items():
            yield from values(value) if _NAME.fullmatch(str(name)) else named(value)
    elif isinstance(tree, (list, tuple)):
        for value in tree:
            yield from named(value)


def values(tree: Any) -> Iterator[str]:
    """Every text in it that is long enough to be a secret."""
    if isinstance(tree, Mapping):
        tree = tuple(tree.values())
    if isinstance(tree, (list, tuple)):
        for value in tree:
            yield from values(value)
    elif isinstance(tree, str) and len(tree) >= SHORTEST:
        yield tree
