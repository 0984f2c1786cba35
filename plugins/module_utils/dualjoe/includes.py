"""A configuration put together from the files that it includes, as OpenClaw does it. Pure: the caller reads the files.

What an object names by ``$include`` takes its place; of a list of files a later one goes over an earlier one, and the
object's own settings go over them all. Objects are merged, lists joined.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

KEY = "$include"
_DEPTH = 10

Load = Callable[[str, str], "tuple[str, Any]"]
"""The name of the file that includes, and the path as it stands there -> the included file's name, and its value."""


class CannotInclude(ValueError):
    """OpenClaw would not start with it; the message names the files."""


def composed(value: Any, load: Load, files: tuple[str, ...]) -> Any:
    """A value with what it includes in its place. ``files``: the one that it stands in, after those that included that.

    Raises CannotInclude, and what ``load`` raises.
    """
    if isinstance(value, list):
        return [composed(each, load, files) for each in value]
    if not isinstance(value, dict):
        return value
    own = {key: composed(each, load, files) for key, each in value.items() if key != KEY}
    if KEY not in value:
        return own
    made = _named(value[KEY], load, files)
    if not own:
        return made
    if not isinstance(made, dict):
        raise CannotInclude(f"{files[-1]} has settings beside the {KEY} of a file that holds no object")
    return _merged(made, own)


def _named(named: Any, load: Load, files: tuple[str, ...]) -> Any:
    if isinstance(named, str):
        return _included(named, load, files)
    if not isinstance(named, list) or not all(isinstance(each, str) for each in named):
        raise CannotInclude(f"{files[-1]} has an {KEY} that is neither a path nor a list of paths")
    made: Any = {}
    for each in named:
        made = _merged(made, _included(each, load, files))
    return made


def _included(named: str, load: Load, files: tuple[str, ...]) -> Any:
    if len(files) > _DEPTH:
        raise CannotInclude(f"{files[-1]} includes {named}, more than {_DEPTH} files deep")
    file, value = load(files[-1], named)
    if file in files:
        raise CannotInclude(f"{file} includes itself")
    return composed(value, load, (*files, file))


def _merged(under: Any, over: Any) -> Any:
    if isinstance(under, list) and isinstance(over, list):
        return [*under, *over]
    if isinstance(under, dict) and isinstance(over, dict):
        both = {key: _merged(under[key], over[key]) for key in under.keys() & over.keys()}
        return {**under, **over, **both}
    return over
