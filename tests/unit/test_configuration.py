"""What makes a configuration bad, what does not, and that no secret is ever told."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from dualjoe.configuration import NAME, Rules, carried_over, check, difference, hidden, secrets
from dualjoe.includes import CannotInclude, composed
from hypothesis import given, settings, strategies

ROOT = Path(__file__).resolve().parents[2]
DEFAULTS = yaml.safe_load((ROOT / "roles/config_guard/defaults/main.yml").read_text(encoding="utf-8"))
RULES = Rules(frozenset(DEFAULTS["config_guard_sentinels"]), frozenset({"T", "B", "HOME"}))

# As it stands in OpenClaw's documentation, by hand and with a comment.
MINIMAL = b"""
// the gateway of Joe
{gateway:{mode:"local",port:18789,bind:"loopback",auth:{mode:"token",token:"${T}"}},discovery:{mdns:{mode:"off"}},
  channels:{telegram:{enabled:true,botToken:"${B}",apiRoot:"http://127.0.0.1:18081",dmPolicy:"open",allowFrom:["*"]}}}
"""
BOT, TOKEN, KEY = (
    "7000000001:AAH-not-a-real-one-0123456789abcde",
    "gw-0f9a8b7c6d5e4f3a2b1c",
    "sk-or-v1-9b74c9897bac770f",
)
FULL: dict[str, Any] = {
    "gateway": {"mode": "local", "port": 18789, "auth": {"mode": "token", "token": TOKEN}},
    "channels": {"telegram": {"enabled": True, "botToken": BOT, "allowFrom": ["*"], "dmPolicy": "open"}},
    "models": {"providers": {"router": {"apiKey": KEY, "baseUrl": "https://router.example", "maxTokens": 4096}}},
    "agents": {"defaults": {"workspace": "${HOME}/workspace", "contextTokens": 20000}},
    "session": {"mainKey": "main", "tokenFile": "/srv/token"},
}


def text(tree: Any) -> bytes:
    return json.dumps(tree, indent=2).encode()


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    tree = copy.deepcopy(FULL)
    change(tree)
    return text(tree)


def rules_of(content: bytes | None, good: bytes | None = None, **how: Any) -> list[tuple[str, str]]:
    return [(each.rule, each.path) for each in check(content, good, RULES, **how)]


def telegram(**values: Any) -> Callable[[dict[str, Any]], object]:
    return lambda tree: tree["channels"]["telegram"].update(values)


@pytest.mark.parametrize(
    ("content", "good"),
    [
        pytest.param(MINIMAL, None, id="the minimal one"),
        pytest.param(MINIMAL, MINIMAL, id="the same as before"),
        pytest.param(text(FULL), None, id="a full one"),
        pytest.param(changed(telegram(botToken="7000000001:another")), text(FULL), id="a rotated token"),
        pytest.param(changed(telegram(botToken="${B}")), text(FULL), id="a token moved to the environment"),
        pytest.param(
            changed(telegram(botToken={"source": "file", "provider": "vault", "id": "/bot"})),
            text(FULL),
            id="a token moved to a SecretRef",
        ),
        pytest.param(
            changed(lambda tree: tree["channels"].update(telegram={"accounts": {"joe": {"botToken": BOT}}})),
            text(FULL),
            id="a token that is somewhere else now",
        ),
        pytest.param(changed(telegram(prefix="$${NOT_A_VARIABLE}")), text(FULL), id="an escaped variable"),
        pytest.param(
            changed(lambda tree: tree.update(env={"vars": {"MINE": "x"}, "OTHER": "y"}, a="${MINE}", b="${OTHER}")),
            text(FULL),
            id="variables of the file's own",
        ),
        pytest.param(
            changed(lambda tree: tree.update(env={"shellEnv": {"enabled": True}}, a="${FROM_THE_SHELL}")),
            text(FULL),
            id="variables of a login shell",
        ),
        pytest.param(
            text({"a": {"token": TOKEN}, "b": {"token": TOKEN}}),
            text({"a": {"token": TOKEN}, "c": 1}),
            id="one token used twice",
        ),
        pytest.param(
            text({"a": {"token": "x", "b": "1"}}), b"{a:{token:'x'}, c:'broken", id="a last good one that is bad"
        ),
        pytest.param(b"/*" + b" long comments " * 999 + b"*/" + text(FULL), text(FULL), id="comments that come"),
        pytest.param(text(FULL), b"/*" + b" long comments " * 999 + b"*/" + text(FULL), id="comments that go"),
        pytest.param(
            b"\xef\xbb\xbf" + text(FULL).replace(b"\n", b"\r\n"), text(FULL), id="Windows line ends, with a mark"
        ),
    ],
)
def test_good(content: bytes, good: bytes | None) -> None:
    assert check(content, good, RULES) == []


@pytest.mark.parametrize(
    ("content", "found"),
    [
        pytest.param(None, ("missing", "openclaw.json"), id="no file"),
        pytest.param(b"", ("empty", "openclaw.json"), id="no bytes"),
        pytest.param(b" \n", ("empty", "openclaw.json"), id="a line"),
        pytest.param(b"{}\n", ("empty", "openclaw.json"), id="no settings"),
        pytest.param(b"\0" * 512, ("nul", "openclaw.json"), id="NUL"),
        pytest.param(text(FULL)[:100] + b"\xff\xfe" + text(FULL)[100:], ("encoding", "openclaw.json"), id="no UTF-8"),
        pytest.param(text(FULL)[:200], ("parse", "openclaw.json"), id="cut off"),
        pytest.param(b"[1]", ("parse", "openclaw.json"), id="a list"),
        pytest.param(b"REDACTED", ("parse", "openclaw.json"), id="a word"),
        pytest.param(text(FULL) * 2, ("parse", "openclaw.json"), id="twice"),
        pytest.param(changed(telegram(botToken="${NOBODY}")), ("unset", "channels.telegram.botToken"), id="unset"),
        pytest.param(
            changed(telegram(botToken={"source": "env", "provider": "default", "id": "NOBODY"})),
            ("unset", "channels.telegram.botToken.id"),
            id="unset by a SecretRef",
        ),
        pytest.param(changed(telegram(botToken="")), ("vanished", "channels.telegram.botToken"), id="an empty token"),
        pytest.param(
            changed(telegram(botToken=None)), ("vanished", "channels.telegram.botToken"), id="null for a token"
        ),
        pytest.param(changed(lambda tree: tree.pop("channels")), ("vanished", "channels.telegram.botToken"), id="gone"),
        pytest.param(
            changed(lambda tree: [tree.pop(name) for name in ("agents", "session", "channels")]),
            ("shrunk", "openclaw.json"),
            id="shrunk",
        ),
    ],
)
def test_bad(content: bytes | None, found: tuple[str, str]) -> None:
    assert found in rules_of(content, text(FULL))


def reading(**files: bytes) -> Callable[[str, str], tuple[str, bytes]]:
    """A reader of included files, all in one folder."""

    def read(including: str, named: str) -> tuple[str, bytes]:
        if named not in files:
            raise CannotInclude(f"{including} includes {named}, which is missing")
        return named, files[named]

    return read


SPLIT = changed(lambda tree: tree.update(channels={"$include": "telegram"}))


@pytest.mark.parametrize(
    ("included", "found"),
    [
        pytest.param(FULL["channels"], [], id="what was in the file itself"),
        pytest.param(
            {"telegram": {"botToken": "placeholder-kept"}}, [("sentinel", "channels.telegram.botToken")], id="sentinel"
        ),
        pytest.param({"telegram": {"botToken": "${NOBODY}"}}, [("unset", "channels.telegram.botToken")], id="unset"),
        pytest.param({"telegram": {}}, [("vanished", "channels.telegram.botToken")], id="vanished"),
        pytest.param({"$include": "nobody"}, [("include", NAME)], id="a missing file, two files deep"),
        pytest.param({"$include": "telegram"}, [("include", NAME)], id="a file that includes itself"),
        pytest.param({"$include": NAME}, [("include", NAME)], id="a circle"),
        pytest.param({"$include": 7}, [("include", NAME)], id="no path"),
    ],
)
def test_a_file_that_is_included_is_looked_at_as_part_of_the_whole(included: Any, found: list[tuple[str, str]]) -> None:
    read = reading(telegram=text(included), **{NAME: SPLIT})
    assert rules_of(SPLIT, text(FULL), read=read) == found


@pytest.mark.parametrize(
    ("included", "found"),
    [(b"{cut: 'o", ("parse", "telegram")), (b"", ("empty", "telegram")), (b"\0", ("nul", "telegram"))],
)
def test_an_included_file_that_cannot_be_read_is_named(included: bytes, found: tuple[str, str]) -> None:
    assert rules_of(SPLIT, None, read=reading(telegram=included)) == [found]


def test_without_a_reader_nothing_can_be_said_of_what_is_included() -> None:
    assert rules_of(SPLIT) == [("include", NAME)]


def test_what_the_last_good_one_included_may_be_gone() -> None:
    """Then what it has itself is compared."""
    assert rules_of(text({"gateway": {"port": 18789}}), SPLIT, read=reading()) == [
        ("vanished", "gateway.auth.token"),
        ("vanished", "models.providers.router.apiKey"),
        ("shrunk", NAME),
    ]


def test_included_secrets_are_hidden_as_others_are() -> None:
    read = reading(telegram=text(FULL["channels"]))
    assert hidden(f"bad: {BOT}, {TOKEN}", SPLIT, read) == "bad: <secret>, <secret>"


def test_included_files_are_merged_as_openclaw_does_it() -> None:
    files: dict[str, Any] = {
        "one": {"a": [1], "b": {"c": 1, "d": 1}, "e": 1},
        "two": {"a": [2], "b": {"c": 2}, "e": [2]},
        "list": [3],
        "deep": {"x": {"$include": "list"}},
    }
    load = lambda _including, named: (named, files[named])  # noqa: E731
    for value, made in (
        ({"$include": "list"}, [3]),
        ({"$include": []}, {}),
        ({"$include": ["one", "two"]}, {"a": [1, 2], "b": {"c": 2, "d": 1}, "e": [2]}),
        ({"$include": "one", "b": {"c": 9}, "e": 9}, {"a": [1], "b": {"c": 9, "d": 1}, "e": 9}),
        ([{"$include": "deep"}, 1], [{"x": [3]}, 1]),
    ):
        assert composed(value, load, (NAME,)) == made
    with pytest.raises(CannotInclude, match="beside the"):
        composed({"$include": "list", "own": 1}, load, (NAME,))


@pytest.mark.parametrize("deep", [10, 11])
def test_includes_are_followed_ten_files_deep(deep: int) -> None:
    load = lambda _including, named: (named, {"$include": str(int(named) + 1)} if int(named) < deep else 1)  # noqa: E731
    if deep > 10:
        with pytest.raises(CannotInclude, match="more than 10 files deep"):
            composed({"$include": "1"}, load, (NAME,))
    else:
        assert composed({"$include": "1"}, load, (NAME,)) == 1


@pytest.mark.parametrize("sentinel", DEFAULTS["config_guard_sentinels"])
@pytest.mark.parametrize("written", ["{}", "  {}\n"])
def test_every_sentinel_is_found_as_a_whole_value(sentinel: str, written: str) -> None:
    content = changed(telegram(botToken=written.format(sentinel)))
    for good in (None, text(FULL)):
        assert rules_of(content, good) == [("sentinel", "channels.telegram.botToken")]
    inside = changed(telegram(greeting=f"I write {sentinel} where a secret was."))
    assert rules_of(inside) == []


def test_the_article_s_incident() -> None:
    """All tokens replaced by one placeholder, known or not."""

    def replace(tree: dict[str, Any], by: str) -> None:
        tree["gateway"]["auth"]["token"] = tree["channels"]["telegram"]["botToken"] = by
        tree["models"]["providers"]["router"]["apiKey"] = by

    kept = rules_of(changed(lambda tree: replace(tree, "placeholder-kept")), text(FULL))
    assert {rule for rule, _ in kept} == {"sentinel", "same"}
    assert len(kept) == 4
    other = changed(lambda tree: replace(tree, "<your token here>"))
    assert rules_of(other, text(FULL)) == [("same", "openclaw.json")]
    assert rules_of(other, text(FULL), accept_losses=True) == [("same", "openclaw.json")], "it is no loss"


def test_losses_can_be_meant() -> None:
    content = changed(lambda tree: [tree.pop(name) for name in ("agents", "session", "channels")])
    assert {rule for rule, _ in rules_of(content, text(FULL))} == {"vanished", "shrunk"}
    assert rules_of(content, text(FULL), accept_losses=True) == []


def test_the_share_that_may_go_is_a_setting() -> None:
    content = changed(lambda tree: tree.pop("session"))
    assert check(content, text(FULL), Rules(environment=RULES.environment, shrunk_share=0.05))[0].rule == "shrunk"
    assert rules_of(content, text(FULL)) == []


def test_secrets_are_known_by_name_or_as_variables() -> None:
    named = {".".join(path) for path in secrets(FULL)}
    assert named == {"gateway.auth.token", "channels.telegram.botToken", "models.providers.router.apiKey"}
    others = {
        "headers": {"X-Api-Key": "a", "Authorization": "b"},
        "tokens": ["c"],
        "anything": "${D}",
        "PRIVATE_KEY": "e",
    }
    assert set(secrets(others).values()) == {"a", "b", "c", "${D}", "e"}


VALUES = strategies.text(alphabet="abcdefABCDEF0123456789:-_", min_size=8, max_size=40).filter(
    lambda value: value not in json.dumps(FULL)
)


@settings(max_examples=60, deadline=None)
@given(strategies.lists(VALUES, min_size=3, max_size=3, unique=True), strategies.integers(0), strategies.booleans())
def test_no_secret_is_ever_told(values: list[str], cut: int, whole: bool) -> None:
    """Neither of a whole configuration nor of one that is cut off anywhere, also in the middle of a secret."""
    old, new, key = values

    def put(tree: dict[str, Any]) -> None:
        tree["channels"]["telegram"]["botToken"] = new
        tree["gateway"]["auth"]["token"] = ""
        tree["models"]["providers"]["router"]["apiKey"] = key
        tree["note"] = f"the token is {new}, the proxy http://joe:{key}@proxy.example"
        tree["other"] = "${NOBODY}"

    good = changed(telegram(botToken=old))
    content = changed(put)
    content = content if whole else content[: cut % len(content)]
    told = [*map(str, check(content, good, RULES)), *difference(good, content, ("before", "now"))]
    assert told
    for value in values:
        assert value not in "\n".join(told)


def test_a_diff_tells_which_secret_is_another() -> None:
    good = text({"a": {"token": "first-token"}, "b": {"token": "second-token"}, "port": 1})
    content = text({"a": {"token": "second-token"}, "b": {"token": "third-token"}, "port": 2})
    assert difference(good, content, ("good", "live"))[3:] == [
        "-a.token = <secret 1>",
        "-b.token = <secret 2>",
        "-port = 1",
        "+a.token = <secret 2>",
        "+b.token = <secret 3>",
        "+port = 2",
    ]
    assert difference(good, good, ("good", "live")) == []


def test_a_diff_tells_no_login_of_an_address() -> None:
    shown = difference(
        text({"proxy": "http://a"}), text({"proxy": "http://joe:geese@proxy.example/x"}), ("good", "live")
    )
    assert shown[-1] == '+proxy = "http://<secret 1>@proxy.example/x"'


def test_a_message_of_the_command_loses_its_secrets() -> None:
    assert hidden(f"expected a number, received {BOT}", text(FULL)) == "expected a number, received <secret>"
    assert hidden("as it is", b"{") == "as it is"


def test_strange_keys_do_no_harm() -> None:
    content = text({"a\n\u202e": {"token": "REDACTED"}})
    assert [str(each) for each in check(content, None, RULES)] == [
        "a\\n\\u202e.token: has a placeholder where its value belongs (sentinel)"
    ]


@pytest.mark.parametrize(
    ("live", "applied", "asked", "wanted"),
    [
        pytest.param({"a": 1, "joe": 2}, {"a": 1}, {"a": 3}, {"a": 3, "joe": 2}, id="changed"),
        pytest.param({"a": 1, "joe": 2}, {"a": 1}, {"a": 1, "b": 3}, {"a": 1, "joe": 2, "b": 3}, id="new"),
        pytest.param({"a": 1, "b": 2, "joe": 2}, {"a": 1, "b": 2}, {"a": 1}, {"a": 1, "joe": 2}, id="gone"),
        pytest.param({"a": 5}, {"a": 1, "b": 2}, {"a": 1, "b": 3}, {"a": 5, "b": 3}, id="what joe changed stays"),
        pytest.param({"a": 5}, {"a": 1}, {"a": 3}, {"a": 3}, id="what both changed is asked for"),
        pytest.param({}, {"a": 1, "b": 2}, {"a": 1, "b": 3}, {"a": 1, "b": 3}, id="an empty one is replaced"),
        pytest.param({"x": 1}, {"a": 1, "b": 2}, {"a": 1, "b": 3}, {"x": 1, "b": 3}, id="what joe removed stays away"),
        pytest.param(
            {"t": {"token": "mine", "on": True}},
            {"t": {"token": "old", "dm": "open"}, "l": [1]},
            {"t": {"token": "old", "dm": "pairing"}, "l": [1, 2]},
            {"t": {"token": "mine", "on": True, "dm": "pairing"}, "l": [1, 2]},
            id="deeper",
        ),
        pytest.param({"t": {"joe": 1}}, {}, {"t": {"a": 1}}, {"t": {"a": 1}}, id="nothing was applied"),
        pytest.param({"t": {"joe": 1}}, {"s": 1}, {"s": 1, "t": {"a": 1}}, {"s": 1, "t": {"joe": 1, "a": 1}}, id="new"),
        pytest.param({"t": "x"}, {"t": {"a": 1}}, {"t": {"a": 1}, "u": 1}, {"t": "x", "u": 1}, id="another kind"),
    ],
)
def test_what_the_inventory_changed_arrives_and_what_joe_set_stays(
    live: Any, applied: Any, asked: Any, wanted: Any
) -> None:
    if "s" in asked:
        live = {**live, "s": 1}
    assert carried_over(text(live), text(applied), asked) == wanted
    assert carried_over(text(wanted), text(asked), asked) == wanted, "once more changes nothing"


def test_over_a_broken_configuration_goes_what_is_asked_for() -> None:
    assert carried_over(b"{", b"{a:1}", {"a": 1}) == {"a": 1}
    assert carried_over(None, b"{a:1}", {"a": 1}) == {"a": 1}
    assert carried_over(b"{b:1}", None, {"a": 1}) == {"a": 1}
