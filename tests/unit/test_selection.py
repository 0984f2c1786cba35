"""Which files belong to a set."""

from __future__ import annotations

import pytest
from ansible_collections.dualjoe.ha.plugins.filter.set_mistakes import set_mistakes
from dualjoe.selection import Selection, overlaps


@pytest.mark.parametrize(
    ("include", "exclude", "path", "taken"),
    [
        (["MEMORY.md"], [], "MEMORY.md", True),
        (["MEMORY.md"], [], "memory.md", False),
        (["MEMORY.md"], [], "deep/MEMORY.md", False),
        (["*/MEMORY.md"], [], "main/MEMORY.md", True),
        (["*/MEMORY.md"], [], "a/b/MEMORY.md", False),
        (["*/memory/**"], [], "main/memory/2026/x.md", True),
        (["*/memory/**"], [], "main/memory", False),
        (["memory/"], [], "memory/a/b.md", True),
        (["**"], [], "anything/at/all", True),
        (["**/MEMORY.md"], [], "MEMORY.md", True),
        (["**/MEMORY.md"], [], "a/b/MEMORY.md", True),
        (["a/**/z"], [], "a/z", True),
        (["a/**/z"], [], "a/b/c/z", True),
        (["a/**/z"], [], "a/bz", False),
        (["?.md"], [], "x.md", True),
        (["?.md"], [], "/.md", False),
        (["[a].md"], [], "[a].md", True),
        (["[a].md"], [], "a.md", False),
        (["**"], [], "a name\nof two lines", True),
        (["**"], [], "-rf", True),
        (["**"], [], "\udcff", True),
        (["**"], ["*.lock"], "a/b/x.lock", False),
        (["**"], ["*.lock"], "a/x.locked", True),
        (["**"], ["tmp/"], "a/tmp/x", False),
        (["**"], ["tmp/"], "a/tmp", True),  # a file
        (["**"], ["*/tmp/"], "a/tmp/x", False),
        (["**"], ["*/tmp/"], "a/b/tmp/x", True),
        (["**"], ["a/b"], "a/b", False),
        (["**"], ["a/b"], "a/b/c", False),
        (["**"], [".git/**/*.lock"], ".git/index.lock", False),
        (["**"], [".git/**/*.lock"], ".git/refs/heads/main.lock", False),
        (["**"], [".git/**/*.lock"], "yarn.lock", True),
    ],
)
def test_a_pattern_takes_what_it_says(include: list[str], exclude: list[str], path: str, taken: bool) -> None:
    assert Selection(include, exclude).takes_deep(path) is taken


def test_folders_are_entered_only_where_something_may_be_taken() -> None:
    selection = Selection(["*/MEMORY.md", "*/memory/**", "notes.md"], ["*/memory/cache/"])
    entered = ["main", "main/memory", "main/memory/2026"]
    assert [path for path in (*entered, "main/sessions", "main/memory/cache") if selection.enters(path)] == entered


@pytest.mark.parametrize("pattern", ["/etc/passwd", "../x", "a/../x", "a//b", ".", ""])
def test_a_pattern_that_leads_out_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="no pattern for what is inside a folder"):
        Selection([pattern])


def test_a_choice_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="has nothing in it"):
        Selection([])


STATE: tuple[str, str, list[str], list[str]] = ("state", "/srv/joe", ["**"], ["tmp/"])
CONFIG: tuple[str, str, list[str], list[str]] = ("config", "/srv/joe", ["openclaw.json"], [])


@pytest.mark.parametrize(
    ("sets", "twice"),
    [
        ([STATE, ("other", "/srv/joes", ["**"], [])], []),
        ([STATE, ("inside", "/srv/joe/workspace", ["**"], [])], ["inside"]),
        ([("inside", "/srv/joe/workspace", ["**"], []), STATE], ["inside"]),
        ([STATE, ("deep", "/srv/joe/a/../workspace/x/", ["**"], [])], ["deep"]),
        ([STATE, ("scratch", "/srv/joe/a/tmp/b", ["**"], [])], []),  # excluded from the one around it
        ([CONFIG, ("workspace", "/srv/joe/workspace", ["**"], [])], []),  # the one around it does not go there
        ([CONFIG, STATE], ["state"]),  # in one folder
        ([("notes", "/srv/joe", ["notes/*.md"], []), ("all", "/srv/joe/notes", ["**"], [])], ["all"]),
        ([("root", "/", ["**"], []), CONFIG], ["config"]),
        ([("a", "/a", ["**"], []), ("a-b", "/a-b", ["**"], []), ("a-c", "/a/c", ["**"], [])], ["a-c"]),
    ],
)
def test_no_two_sets_may_have_the_same_file(
    sets: list[tuple[str, str, list[str], list[str]]], twice: list[str]
) -> None:
    told = overlaps((name, folder, Selection(include, exclude)) for name, folder, include, exclude in sets)
    assert [message.split()[1] for message in told] == twice
    raw = [{"name": name, "path": folder, "include": take, "exclude": leave} for name, folder, take, leave in sets]
    assert set_mistakes(raw) == told


def test_provisioning_names_the_set_whose_pattern_leads_out() -> None:
    assert set_mistakes(
        [{"name": "a", "path": "/a", "include": ["../x"]}, {"name": "b", "path": "/b", "include": []}]
    ) == [
        "set a: '../x' is no pattern for what is inside a folder",
        "set b: a set without 'include' has nothing in it",
    ]
