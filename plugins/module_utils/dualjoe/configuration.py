"""Is this a good configuration of the gateway? The bytes of its file and of the last good one go in, findings come out.
Pure.

Every finding is an error. It names a setting by its path (``channels.telegram.botToken``) and never repeats a value.

===========  ===========================================================================================================
rule         finds
===========  ===========================================================================================================
missing      there is no file
empty        no bytes, or no setting
nul          NUL bytes, as a disk leaves them after a power cut
encoding     text that is not UTF-8
parse        text that is no JSON5 object, so that the gateway would not start with it
include      a file named by ``$include`` that is missing, outside of the configuration's folder, or names itself
sentinel     a placeholder, or the mark of a redaction, is the value of a setting
unset        ``${NAME}`` of a variable that the gateway does not have
same         all secrets have become one and the same value
vanished     a secret that the last good configuration has is gone
shrunk       more than their share of the settings are gone
===========  ===========================================================================================================

The last three compare with the last good configuration; the last two are losses, which a person may have meant. Files
that are included are looked at as part of the whole. A secret is what its name says (token, password, apiKey), or was
``${NAME}``.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import includes, json5
from .names import shown
from .validation import Finding

NAME = "openclaw.json"

_SECRET = re.compile(
    r"(token|secret|password|passphrase|passwd|credential|authorization|cookie"
    r"|(api|private|access|signing|encryption|master|service|license|auth)key)s?$|^(key|pass)$"
)
_VARIABLE = re.compile(r"(?<!\$)\$\{([A-Z_][A-Z0-9_]*)\}")
_LOGIN = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_TELLING_CHARACTERS = 8  # a secret this long is looked for inside other values as well

Path = tuple[str, ...]
Read = Callable[[str, str], "tuple[str, bytes]"]
"""The name of the file that includes, and the path as it stands there -> the included file's name, and its bytes.
Raises includes.CannotInclude."""


@dataclass(frozen=True)
class Rules:
    """``sentinels`` are no secrets. ``environment`` names the variables that the gateway has. ``shrunk_share`` is the
    share of its settings that a configuration may lose."""

    sentinels: frozenset[str] = frozenset()
    environment: frozenset[str] = frozenset()
    shrunk_share: float = 0.5


def _alone(including: str, named: str) -> tuple[str, bytes]:
    raise includes.CannotInclude(f"{including} includes {named}, which cannot be looked at here")


def check(
    content: bytes | None, good: bytes | None, rules: Rules, accept_losses: bool = False, read: Read = _alone
) -> list[Finding]:
    """What is wrong with a configuration. ``content`` is None where there is no file, ``good`` where no good one is
    known. ``accept_losses``: what is gone was meant to go. ``read`` is asked for the files that it includes."""
    try:
        tree = _whole(content, read)
    except _Bad as bad:
        return [_error(bad.rule, shown(bad.file), shown(bad))]
    findings = [*_sentinels(tree, rules), *_unset(tree, rules)]
    try:
        before = _before(good, read)
    except _Bad:  # nothing to compare with
        return findings
    findings += _same(secrets(tree), secrets(before))
    if not accept_losses:
        findings += [*_vanished(tree, before), *_shrunk(tree, before, rules)]
    return findings


class _Bad(Exception):
    """Not a configuration at all."""

    def __init__(self, rule: str, message: str, file: str = NAME) -> None:
        super().__init__(message)
        self.rule = rule
        self.file = file


def _error(rule: str, path: str, message: str) -> Finding:
    return Finding(rule, "error", path, 0, message)


def _tree(content: bytes | None) -> dict[str, Any]:
    """A configuration as it stands in its own file."""
    if content is None:
        raise _Bad("missing", "there is no such file")
    return _object(_decoded(content))


def _whole(content: bytes | None, read: Read) -> dict[str, Any]:
    """A configuration with what it includes."""

    def load(including: str, named: str) -> tuple[str, Any]:
        file, included = read(including, named)
        return file, _decoded(included, file)

    try:
        return _object(includes.composed(_tree(content), load, (NAME,)))
    except includes.CannotInclude as error:
        raise _Bad("include", str(error)) from error


def _before(good: bytes | None, read: Read) -> dict[str, Any]:
    """The last good configuration, with what it includes as that is now: only this file's versions are kept."""
    try:
        return _whole(good, read)
    except _Bad:  # what it included is gone, or bad now
        return _whole(good, lambda _including, named: (named, b"{}"))


def _decoded(content: bytes, file: str = NAME) -> Any:
    if not content.strip():
        raise _Bad("empty", f"has nothing in its {len(content)} bytes", file)
    if b"\0" in content:
        raise _Bad("nul", f"{content.count(0)} of {len(content)} bytes are NUL", file)
    try:
        return json5.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise _Bad("encoding", f"is not UTF-8 from byte {error.start} on", file) from error
    except json5.Unreadable as error:
        raise _Bad("parse", f"cannot be read: {error}", file) from error


def _object(tree: Any) -> dict[str, Any]:
    if not isinstance(tree, dict):
        raise _Bad("parse", "holds no object")
    if not tree:
        raise _Bad("empty", "has no settings")
    return tree


def _leaves(tree: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every value that is neither object nor list, with its path."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _leaves(value, (*path, key))
    elif isinstance(tree, list):
        for number, value in enumerate(tree):
            yield from _leaves(value, (*path, str(number)))
    else:
        yield path, tree


def _at(tree: Any, path: Path) -> Any:
    """What is at a path; None where nothing is."""
    for key in path:
        if isinstance(tree, list) and key.isdecimal() and int(key) < len(tree):
            tree = tree[int(key)]
        elif isinstance(tree, dict):
            tree = tree.get(key)
        else:
            return None
    return tree


def _dotted(path: Path) -> str:
    return shown(".".join(path))


def _names_secret(path: Path) -> bool:
    """Whether what is at a path should be a secret; of a list's element, the list's name tells."""
    name = next((key for key in reversed(path) if not key.isdecimal()), "")
    return _SECRET.search(re.sub(r"[^a-z]", "", name.lower())) is not None


def _is_variable(value: str) -> bool:
    return _VARIABLE.fullmatch(value.strip()) is not None


def secrets(tree: Mapping[str, Any]) -> dict[Path, str]:
    """Every secret that is set -> its value, or the ``${NAME}`` that stands for it."""
    return {
        path: value.strip()
        for path, value in _leaves(tree)
        if isinstance(value, str) and value.strip() and (_names_secret(path) or _is_variable(value))
    }


def _sentinels(tree: Mapping[str, Any], rules: Rules) -> Iterator[Finding]:
    marks = {mark.strip().casefold() for mark in rules.sentinels}
    for path, value in _leaves(tree):
        if isinstance(value, str) and value.strip().casefold() in marks:
            yield _error("sentinel", _dotted(path), "has a placeholder where its value belongs")


def _unset(tree: Mapping[str, Any], rules: Rules) -> Iterator[Finding]:
    block = tree.get("env")
    own = block if isinstance(block, dict) else {}
    if _at(own, ("shellEnv", "enabled")) is True:  # the gateway asks a login shell, which only it can do
        return
    inline = own.get("vars")
    known = rules.environment.union(own, inline if isinstance(inline, dict) else ())
    for path, value in _leaves(tree):
        named = _VARIABLE.findall(value) if isinstance(value, str) else []
        if path[-1] == "id" and _at(tree, (*path[:-1], "source")) == "env" and isinstance(value, str):
            named = [value]
        for name in named:
            if name not in known:
                message = f"names ${{{shown(name)}}}, which is not set for the gateway on this node"
                yield _error("unset", _dotted(path), message)


def _same(now: Mapping[Path, str], before: Mapping[Path, str]) -> Iterator[Finding]:
    if len(now) > 1 and len(set(now.values())) == 1 and len({before[path] for path in now.keys() & before.keys()}) > 1:
        yield _error("same", NAME, f"all {len(now)} secrets have become one and the same value")


def _vanished(tree: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[Finding]:
    kept = set(secrets(tree).values())  # also those that are somewhere else now
    for path, value in secrets(before).items():
        found = _at(tree, path)
        is_set = bool(found.strip()) if isinstance(found, str) else found not in (None, {}, [])
        if not is_set and value not in kept:
            yield _error("vanished", _dotted(path), "was a secret in the last good configuration, and is gone")


def _shrunk(tree: Mapping[str, Any], before: Mapping[str, Any], rules: Rules) -> Iterator[Finding]:
    # Settings, not bytes: when OpenClaw writes the file, a person's comments go.
    now, then = sum(1 for _ in _leaves(tree)), sum(1 for _ in _leaves(before))
    if now < then * (1 - rules.shrunk_share):
        yield _error("shrunk", NAME, f"has {now} settings, and had {then}")


def carried_over(content: bytes | None, applied: bytes | None, asked: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with what has changed between the one that was ``applied`` and the one that is ``asked`` for.
    What else was set in it stays. Where one of the two cannot be read, it is what is asked for."""
    try:
        live, before = _tree(content), _tree(applied)
    except _Bad:
        return dict(asked)
    return _with_changes(live, before, asked)


def _with_changes(live: Mapping[str, Any], before: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    made = {key: value for key, value in live.items() if key in asked or key not in before}
    for key, value in asked.items():
        here, then = live.get(key), before.get(key, {})
        if isinstance(here, dict) and isinstance(then, dict) and isinstance(value, dict):
            made[key] = _with_changes(here, then, value)
        elif key not in before or then != value:
            made[key] = value
    return made


def hidden(text: str, content: bytes | None, read: Read = _alone) -> str:
    """``text`` without the secrets of a configuration."""
    try:
        values = secrets(_before(content, read)).values()
    except _Bad:
        return text
    for value in sorted(values, key=len, reverse=True):
        if len(value) >= _TELLING_CHARACTERS and not _is_variable(value):
            text = text.replace(value, "<secret>")
    return text


def difference(before: bytes | None, after: bytes | None, names: tuple[str, str]) -> list[str]:
    """A unified diff of two configurations' settings, a line each. Secrets are numbered and not shown: the same number
    is the same secret. Of what cannot be read only that is told."""
    numbers: dict[str, str] = {}
    for content in (before, after):
        for value in _to_hide(content):
            numbers.setdefault(value, f"<secret {len(numbers) + 1}>")
    return list(difflib.unified_diff(_lines(before, numbers), _lines(after, numbers), *names, n=1, lineterm=""))


def _to_hide(content: bytes | None) -> Iterator[str]:
    try:
        tree = _tree(content)
    except _Bad:
        return
    for path, value in _leaves(tree):
        if isinstance(value, str):
            yield from _LOGIN.findall(value)
        if _names_secret(path) and isinstance(value, (str, int, float)) and not isinstance(value, bool):
            text = str(value).strip()
            if text and not _is_variable(text):
                yield text


def _lines(content: bytes | None, numbers: Mapping[str, str]) -> Sequence[str]:
    try:
        tree = _tree(content)
    except _Bad as bad:
        return [f"({NAME} {bad})"]
    return sorted(f"{_dotted(path)} = {_hide(value, numbers)}" for path, value in _leaves(tree))


def _hide(value: Any, numbers: Mapping[str, str]) -> str:
    text = str(value).strip()
    if text in numbers:
        return numbers[text]
    if isinstance(value, str):
        for secret in sorted(numbers, key=len, reverse=True):
            if len(secret) >= _TELLING_CHARACTERS or f"://{secret}@" in value:
                value = value.replace(secret, numbers[secret])
    return shown(json.dumps(value, ensure_ascii=False))
