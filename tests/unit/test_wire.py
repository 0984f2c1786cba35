"""What the guard's socket takes, and from whom."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from dualjoe import wire
from hypothesis import given
from hypothesis import strategies as st

STAMP = "6c7d3d9e-0000-4000-8000-000000000001:1000"
RENEW = {"v": 1, "verb": "renew", "epoch": 3, "stamp": STAMP, "ttl": 30}


def test_a_good_request() -> None:
    parsed = wire.parse_request(RENEW, "witness")
    assert (parsed.verb, parsed.epoch, str(parsed.stamp), parsed.ttl) == ("renew", 3, STAMP, 30.0)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"v": 2}, "bad_version"),
        ({"verb": "reboot"}, "unknown_verb"),
        ({"verb": ["renew"]}, "unknown_verb"),
        ({"epoch": "3"}, "bad_request"),
        ({"epoch": True}, "bad_request"),
        ({"epoch": 0}, "bad_request"),
        ({"epoch": 3.5}, "bad_request"),
        ({"epoch": 2**53}, "bad_request"),
        ({"stamp": 12}, "bad_request"),
        ({"stamp": "boot:12"}, "bad_request"),
        ({"stamp": STAMP + "\n"}, "bad_request"),
        ({"ttl": 0.5}, "bad_request"),
        ({"ttl": 601}, "bad_request"),
        ({"ttl": float("nan")}, "bad_request"),
        ({"ttl": None}, "bad_request"),
        ({"command": "sh"}, "bad_request"),
    ],
)
def test_malformed_requests_are_refused(change: dict[str, Any], code: str) -> None:
    with pytest.raises(wire.Refused) as caught:
        wire.parse_request({**RENEW, **change}, "witness")
    assert caught.value.code == code


@pytest.mark.parametrize("caller", ["peer", "local", "root", ""])
@pytest.mark.parametrize("verb", ["renew", "grant", "revoke", "sync"])
def test_only_the_witness_moves_anything(caller: str, verb: str) -> None:
    with pytest.raises(wire.Refused) as caught:
        wire.parse_request({**RENEW, "verb": verb}, caller)
    assert caught.value.code == "not_allowed"


@given(st.dictionaries(st.text(max_size=6), st.none() | st.booleans() | st.integers() | st.text(max_size=9)))
def test_whatever_comes_is_parsed_or_refused(extra: dict[str, Any]) -> None:
    try:
        wire.parse_request({"v": 1, "verb": "renew", **extra}, "witness")
    except wire.Refused:
        return


@given(st.binary(max_size=200))
def test_any_bytes_are_an_object_or_a_wire_error(line: bytes) -> None:
    try:
        assert isinstance(wire.decode(line), dict)
    except wire.WireError:
        return


def test_deep_nesting_is_a_wire_error() -> None:
    with pytest.raises(wire.WireError):
        wire.decode(b"[" * 60000 + b"\n")


def test_ask_socket_brings_the_reply_or_says_where_it_failed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with pytest.raises(wire.WireError, match=str(path)):
        wire.ask_socket(str(path), {}, 1)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve(answer: bytes) -> None:
            connection, _ = server.accept()
            connection.recv(4096)
            connection.sendall(answer)
            connection.close()

        for answer, good in ((b'{"ok":true}\n', True), (b'{"ok":tr', False), (b"", False)):
            thread = threading.Thread(target=serve, args=(answer,))
            thread.start()
            if good:
                assert wire.ask_socket(str(path), {"v": 1}, 5) == {"ok": True}
            else:
                with pytest.raises(wire.WireError):
                    wire.ask_socket(str(path), {"v": 1}, 5)
            thread.join()
