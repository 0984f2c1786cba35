"""What every one of the three machines has got."""

from __future__ import annotations

import re
from typing import Any

import pytest

testinfra_hosts = ["docker://t440", "docker://pc-a", "docker://pc-b"]

ADDRESSES = {"t440": "172.31.213.10", "pc-a": "172.31.213.11", "pc-b": "172.31.213.12"}
GATEWAY_USERS = {"pc-a": "openclaw01", "pc-b": "openclaw02"}


def options(entry: str) -> set[str]:
    """The options of an authorized_keys entry, in any order."""
    return set(re.findall(r'[a-z-]+(?:="[^"]*")?', entry.split(" ssh-ed25519 ", maxsplit=1)[0]))


def authorized(host: Any, user: str) -> list[str]:
    home = host.user(user).home
    listing = host.run(f"cat {home}/.ssh/authorized_keys 2>/dev/null || true")
    return [line for line in listing.stdout.splitlines() if line and not line.startswith("#")]


def test_no_unit_has_failed(host: Any) -> None:
    assert host.run("systemctl --failed --no-legend --plain").stdout == ""


@pytest.mark.parametrize("name", ["dualjoe", "dualjoe-backup"])
def test_accounts_are_locked(host: Any, name: str) -> None:
    user = host.user(name)
    assert user.exists
    assert user.uid < 1000
    assert user.password in {"*", "!", "!*"}


def test_accounts_take_only_restricted_keys(host: Any) -> None:
    accounts = {"dualjoe", "dualjoe-backup", GATEWAY_USERS.get(host.backend.name, "dualjoe")}
    for entry in (entry for account in accounts for entry in authorized(host, account)):
        given = options(entry)
        assert "restrict" in given, entry
        assert any(option.startswith('from="') for option in given), entry
        assert any(option.startswith('command="/usr/local/bin/dualjoe-') for option in given), entry


def test_host_keys_of_the_others_are_pinned(host: Any) -> None:
    known = host.file("/etc/dualjoe/known_hosts")
    assert (known.user, known.mode) == ("root", 0o644)
    others = {address for name, address in ADDRESSES.items() if name != host.backend.name}
    assert {address for address in others if address in known.content_string} == others


def test_private_keys_belong_to_who_uses_them(host: Any) -> None:
    paths = host.run("find /etc/dualjoe/keys -type f ! -name '*.pub'").stdout.split()
    assert paths
    assert [path for path in paths if host.file(path).mode != 0o600] == []


def test_the_library_is_installed(host: Any) -> None:
    assert host.file("/usr/local/lib/dualjoe/dualjoe/wire.py").exists
    assert host.file("/usr/local/lib/dualjoe/dualjoe_jobs").is_directory
    for folder in ("dualjoe", "dualjoe_jobs"):  # accounts that may not write there need not compile it at each start
        assert host.run(f'test -n "$(ls /usr/local/lib/dualjoe/{folder}/__pycache__/*.pyc)"').rc == 0
