"""What validation looks for, as data, and how a user tunes it: severities, limits, key files, foreign files. Pure."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any, NamedTuple

from .selection import Selection

SEVERITIES = ("error", "warning", "off")
# Grows whenever a rule finds more than before: what was found good by an older one is then read again.
_CHECKS = 1


class PolicyError(ValueError):
    """A policy makes no sense; the message names each mistake."""


class Rule(NamedTuple):
    """Its severity unless the user says otherwise, and what it finds."""

    severity: str
    finds: str


RULES: Mapping[str, Rule] = {
    "manifest": Rule("error", "a file of a generation that is missing, added or not what the manifest says"),
    "kind": Rule("error", "a symbolic link, FIFO, socket or device"),
    "empty": Rule("error", "a key file, or a file named as a database, with no bytes"),
    "nul": Rule("error", "NUL bytes in text, or where a database begins, as a disk leaves them after a power cut"),
    "encoding": Rule("error", "text that is not UTF-8"),
    "json": Rule("error", "JSON that is cut off or makes no sense; it may be JSON5, with comments"),
    "jsonl": Rule("error", "JSONL of which more than one line in a hundred makes no sense"),
    "jsonl_line": Rule("warning", "a line of JSONL that makes no sense, one of very many, as a crash leaves it"),
    "conflict": Rule("error", "the markers of a merge that was not finished, outside of a code block"),
    "front_matter": Rule("warning", "front matter of Markdown that is opened and never closed"),
    "schema": Rule("error", "a key file that is missing, too small, or without its headings or front matter"),
    "database": Rule(
        "error",
        "an SQLite file (known by its header) that fails SQLite's own check, has no tables, or is none any more",
    ),
    "database_unchecked": Rule("warning", "an SQLite file in use, or one that needs an extension to be checked"),
    "emptied": Rule("error", "a top folder, or the whole, that has no files and had some (foreign ones do not count)"),
    "gone": Rule("error", "more than their share of the files are gone or without a byte (foreign ones do not count)"),
    "shrunk": Rule("error", "a key file that lost more than its share of bytes, or is gone"),
    "truncated": Rule("error", "text that is the beginning of what it was and ends in the middle of a line"),
    "blank": Rule("warning", "text that has no bytes and had some"),
    "rows": Rule("error", "a database in which most tables lost more than their share of rows"),
    "table": Rule("warning", "a single table that lost more than its share of rows, or is gone"),
}


@dataclass(frozen=True)
class Limits:
    """The share that may be missing compared with the last good tree: of a key file's bytes, of the number of files, of
    a table's rows."""

    shrunk_share: float = 0.5
    gone_share: float = 0.5
    rows_share: float = 0.5


@dataclass(frozen=True)
class KeyFile:
    """What must be true of the files that the pattern ``path`` takes. ``required``: there is at least one.

    ``headings`` are lines as they stand in the file, ``front_matter`` keys that its front matter has.
    """

    path: str
    required: bool = False
    min_bytes: int = 0
    headings: Sequence[str] = ()
    front_matter: Sequence[str] = ()

    @cached_property
    def selection(self) -> Selection:
        return Selection([self.path])


_SCHEMA = (KeyFile("**/MEMORY.md", min_bytes=1),)
_FOREIGN = Selection(["media/**", "workspace/*/**"], ["workspace/memory/"])


@dataclass(frozen=True)
class Policy:
    """How strict to be. ``rules`` has the severities that differ from RULES. In ``foreign`` files, which Joe was sent
    or works on, nothing is worse than a warning, and they may all go."""

    rules: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = Limits()
    schema: Sequence[KeyFile] = _SCHEMA
    foreign: Selection = _FOREIGN

    @classmethod
    def parse(cls, raw: object) -> Policy:
        """From decoded JSON or YAML; what is left out is as built in. Raises PolicyError that names each mistake."""
        parts: Mapping[str, Callable[[Any], Any]] = {
            "rules": _rules,
            "limits": _limits,
            "schema": _schema,
            "foreign": _foreign,
        }
        found: dict[str, Any] = {}
        mistakes = []
        for name, value in _mapping("the policy", raw, parts).items():
            try:
                found[name] = parts[name](value)
            except ValueError as error:
                mistakes.append(str(error))
        if mistakes:
            raise PolicyError("; ".join(mistakes))
        return cls(**found)

    @property
    def fingerprint(self) -> str:
        """The same for policies (and versions of the rules) that find the same."""
        foreign = [self.foreign.include, self.foreign.exclude]
        told = [_CHECKS, dict(self.rules), vars(self.limits), [asdict(each) for each in self.schema], foreign]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    @cached_property
    def key_files(self) -> Selection | None:
        """All of the schema's patterns."""
        return Selection([each.path for each in self.schema]) if self.schema else None

    def severity(self, rule: str, path: str) -> str:
        """How bad it is when ``rule`` finds something in the file at ``path``."""
        severity = self.rules.get(rule) or RULES[rule].severity
        return "warning" if severity == "error" and self.is_foreign(path) else severity

    def is_foreign(self, path: str) -> bool:
        """Whether Joe was sent the file at ``path``, or works on it."""
        return self.foreign.takes_deep(path)


BUILT_IN = Policy()


def _mapping(what: str, raw: object, known: Mapping[str, object]) -> Mapping[str, Any]:
    if not isinstance(raw, Mapping):
        raise PolicyError(f"{what} must be a mapping with any of: {', '.join(known)}")
    unknown = [str(name) for name in raw if name not in known]
    if unknown:
        raise PolicyError(f"{what} has no {', '.join(unknown)}; there are: {', '.join(known)}")
    return raw


def _rules(raw: object) -> dict[str, str]:
    found = {}
    for name, value in _mapping("rules", raw, RULES).items():
        severity = "off" if value is False else value  # YAML reads a bare `off` as false
        if severity not in SEVERITIES:
            raise PolicyError(f"rules.{name} is {value!r}; it can be: {', '.join(SEVERITIES)}")
        found[name] = severity
    return found


def _limits(raw: object) -> Limits:
    found = {}
    for name, value in _mapping("limits", raw, vars(Limits())).items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1 or math.isnan(value):
            raise PolicyError(f"limits.{name} is {value!r}; it must be a number above 0 and at most 1")
        found[name] = float(value)
    return Limits(**found)


def _schema(raw: object) -> tuple[KeyFile, ...]:
    if not isinstance(raw, list):
        raise PolicyError("schema must be a list")
    return tuple(_key_file(f"schema[{number}]", item) for number, item in enumerate(raw))


def _key_file(what: str, raw: object) -> KeyFile:
    names: dict[str, object] = {each.name: None for each in fields(KeyFile)}
    # Ansible says None for what was left out.
    told = {name: value for name, value in _mapping(what, raw, names).items() if value is not None}
    if not isinstance(told.get("path"), str):
        raise PolicyError(f"{what}.path must be a pattern")
    if not isinstance(told.get("required", False), bool):
        raise PolicyError(f"{what}.required must be true or false")
    least = told.get("min_bytes", 0)
    if isinstance(least, bool) or not isinstance(least, int) or least < 0:
        raise PolicyError(f"{what}.min_bytes must be a number of bytes")
    for name in ("headings", "front_matter"):
        told[name] = tuple(_texts(f"{what}.{name}", told.get(name, [])))
    made = KeyFile(**told)
    try:
        made.selection  # noqa: B018 it refuses a bad pattern
    except ValueError as error:
        raise PolicyError(f"{what}.path: {error}") from error
    return made


def _foreign(raw: object) -> Selection:
    told = _mapping("foreign", raw, {"include": None, "exclude": None})
    include, exclude = (list(_texts(f"foreign.{name}", told.get(name) or [])) for name in ("include", "exclude"))
    try:
        return Selection(include or ["*"], exclude if include else ["*"])  # without a pattern: none are
    except ValueError as error:
        raise PolicyError(f"foreign: {error}") from error


def _texts(what: str, raw: object) -> Iterator[str]:
    if not isinstance(raw, (list, tuple)) or not all(isinstance(item, str) for item in raw):
        raise PolicyError(f"{what} must be a list of texts")
    yield from raw
