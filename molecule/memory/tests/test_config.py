"""Harm to Joe's configuration: the two incidents of the article, against the real OpenClaw.

One: the file is broken under the running gateway, which goes on and would not start again. Two: every token becomes the
same placeholder, by OpenClaw's own command, which calls the result valid. Each time people are told within a minute,
PC-B never gets it, and one playbook brings the last good version back.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from pair import playbook, recap, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pair import Pair

STATE = "/srv/openclaw"
LIVE = f"{STATE}/openclaw.json"
GOOD = "/var/lib/dualjoe/config/good"
USERS = {"pc-a": "openclaw01", "pc-b": "openclaw02"}
ALERT_SECONDS = 60
TOLD = "Job config-check on pc-a failed"
OVER = "Job config-check on pc-a works again"


def as_joe(pair: Pair, node: str, *command: str, check: bool = True) -> str:
    """Run a command as the gateway's user; what it printed."""
    done = pair.on(node, "runuser", "-u", USERS[node], "--", *command, check=check)
    return str(done.stdout + done.stderr)


def read(pair: Pair, node: str) -> str:
    return str(pair.on(node, "cat", LIVE).stdout)


def write(pair: Pair, node: str, content: str) -> None:
    """As an editor that does not write a new file: into the one that is there."""
    as_joe(pair, node, "sh", "-c", f'printf %s "$1" > {LIVE}', "sh", content)


def openclaw(pair: Pair, node: str, *words: str) -> None:
    """OpenClaw's command, with the secrets that its configuration names."""
    pair.on(
        node,
        *("systemd-run", "--quiet", "--pipe", "--wait", "--collect", f"--property=User={USERS[node]}"),
        *("--property=EnvironmentFile=/etc/openclaw/gateway.env", f"--setenv=HOME={STATE}"),
        *(f"--setenv=OPENCLAW_STATE_DIR={STATE}", "/opt/openclaw/bin/openclaw", *words),
    )


def check(pair: Pair, node: str) -> dict[str, Any]:
    """The last result of the job."""
    told: dict[str, Any] = json.loads(pair.on(node, "cat", "/var/lib/dualjoe/jobs/config-check.json").stdout)
    return told


def sync(pair: Pair) -> str:
    """PC-B fetches now; the message of the result."""
    told = json.loads(as_joe(pair, "pc-b", "/usr/local/bin/dualjoe", "sync", "--now", "--json"))
    assert told["result"] == "ok", told["message"]
    return str(told["message"])


def wait_for_alert(pair: Pair, since: int, text: str, seconds: float = ALERT_SECONDS) -> str:
    """The first alert after the first ``since`` that has this text."""
    found: list[str] = []

    def told() -> bool:
        found.extend(alert for alert in pair.alerts()[since:] if text in alert)
        return bool(found)

    print(f"{text!r}: {wait_until(told, f'an alert with {text!r}', seconds):.0f} s")
    return found[0]


@pytest.fixture(autouse=True)
def good(pair: Pair) -> Iterator[str]:
    """The configuration at the begin: both nodes have it, and it is PC-A's last good one. Brought back whatever a test
    leaves."""
    wait_until(lambda: check(pair, "pc-a")["result"] == "ok", "PC-A's configuration is good", 90)
    sync(pair)
    content = read(pair, "pc-a")
    assert read(pair, "pc-b") == content
    yield content
    if read(pair, "pc-a") != content:
        write(pair, "pc-a", content)
    wait_until(lambda: check(pair, "pc-a")["result"] == "ok", "PC-A's configuration is good again", 90)
    wait_until(lambda: pair.gateway_ready("pc-a"), "PC-A's gateway is ready", 120)


def bring_back(pair: Pair, content: str) -> None:
    """By the playbook: first only said, then done, then nothing left to do; and Joe answers on Telegram again."""
    bad, since = read(pair, "pc-a"), len(pair.alerts())
    said = playbook("playbooks/config_rollback.yml", "--check")
    assert said.returncode == 0, said.stdout + said.stderr
    assert "would be brought back" in said.stdout
    assert read(pair, "pc-a") == bad
    done = playbook("playbooks/config_rollback.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    changed = {node: counts["changed"] for node, counts in recap(done.stdout).items()}
    assert changed == {"pc-a": 1, "pc-b": 0}
    assert read(pair, "pc-a") == content
    assert pair.gateway_ready("pc-a"), "the playbook has waited for it"
    assert pair.ask_joe("/status")
    wait_for_alert(pair, since, OVER)
    again = playbook("playbooks/config_rollback.yml")
    assert {counts["changed"] for counts in recap(again.stdout).values()} == {0}


def assert_no_secret(pair: Pair, *texts: str) -> None:
    secrets = (pair.openclaw_telegram_token, pair.watchdog_telegram_token)
    assert not [text for text in texts for secret in secrets if secret in text]


def test_a_file_that_breaks_under_the_running_gateway(pair: Pair, good: str) -> None:
    since = len(pair.alerts())
    write(pair, "pc-a", good[: len(good) // 2])
    alert = wait_for_alert(pair, since, TOLD)
    assert "(parse)" in alert
    assert pair.gateway_ready("pc-a"), "it goes on with what it read before"
    assert "withheld by the source: config" in sync(pair)
    assert read(pair, "pc-b") == good
    assert_no_secret(pair, alert, as_joe(pair, "pc-a", "/usr/local/bin/dualjoe", "config", "diff"))
    bring_back(pair, good)
    assert "config" not in sync(pair)


@pytest.fixture
def _nobody_moves(pair: Pair) -> Iterator[None]:
    """A gateway with another token than its own command may fail the full check. Then T440 moves Joe to PC-B, where the
    configuration is good: that is as it should be, and another story."""
    pair.on("t440", "dualjoe", "pause", "--for", "20m", "--reason", "tokens are broken on purpose")
    yield
    pair.on("t440", "dualjoe", "resume")


@pytest.mark.usefixtures("_nobody_moves")
@pytest.mark.parametrize("way", ["set", "patch"])
def test_every_token_becomes_the_same_placeholder(pair: Pair, good: str, way: str) -> None:
    since = len(pair.alerts())
    if way == "set":
        for setting in ("channels.telegram.botToken", "gateway.auth.token"):
            openclaw(pair, "pc-a", "config", "set", setting, "placeholder-kept")
    else:
        tokens = {"channels": {"telegram": {"botToken": "<token>"}}, "gateway": {"auth": {"token": "<token>"}}}
        as_joe(pair, "pc-a", "sh", "-c", "cat > /tmp/patch.json5 <<'END'\n" + json.dumps(tokens) + "\nEND")
        openclaw(pair, "pc-a", "config", "patch", "--file", "/tmp/patch.json5")
    broken = json.loads(read(pair, "pc-a"))
    assert broken["channels"]["telegram"]["botToken"] == broken["gateway"]["auth"]["token"]
    alert = wait_for_alert(pair, since, TOLD)
    assert ("(sentinel)" if way == "set" else "(same)") in alert
    assert "withheld by the source: config" in sync(pair)
    assert read(pair, "pc-b") == good
    with pytest.raises(TimeoutError):
        pair.ask_joe("/status", 20)  # whether Telegram refuses the placeholder or not, it is not Joe's bot
    bring_back(pair, good)
    assert read(pair, "pc-b") == good


def test_what_openclaw_itself_refuses_is_told(pair: Pair, good: str) -> None:
    since = len(pair.alerts())
    write(pair, "pc-a", json.dumps({**json.loads(good), "unknown": 1}))
    assert "Unrecognized key" in wait_for_alert(pair, since, TOLD)
    assert "withheld by the source: config" in sync(pair)
    bring_back(pair, good)


def test_what_joe_sets_himself_travels_and_survives_site_yml(pair: Pair) -> None:
    openclaw(pair, "pc-a", "config", "set", "agents.defaults.userTimezone", "Europe/Vienna")
    wait_until(
        lambda: "Europe/Vienna" in pair.on("pc-a", "sh", "-c", f"cat {GOOD}/*").stdout, "it is a good version", 30
    )
    assert "config" not in sync(pair)
    assert "Europe/Vienna" in read(pair, "pc-b")
    done = playbook("site.yml", "--limit", "nodes", "--tags", "openclaw_configure")
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(counts["changed"] == 0 for counts in recap(done.stdout).values())
    assert "Europe/Vienna" in read(pair, "pc-a")


@pytest.mark.usefixtures("_nobody_moves")
def test_a_file_that_it_includes_is_looked_at_with_it(pair: Pair, good: str) -> None:
    """By our rules and by OpenClaw's; the gateway takes it up."""
    tree = json.loads(good)
    part = f"{STATE}/parts/channels.json5"
    write(pair, "pc-a", json.dumps({**tree, "channels": {"$include": "./parts/channels.json5"}}))
    command = ("/usr/local/bin/dualjoe", "config", "check")
    assert "which is missing" in as_joe(pair, "pc-a", *command, check=False)
    for token in (tree["channels"]["telegram"]["botToken"], "placeholder-kept"):
        channels = {"telegram": {**tree["channels"]["telegram"], "botToken": token}}
        script = f'mkdir -p {STATE}/parts && printf %s "$1" > {part}'
        as_joe(pair, "pc-a", "sh", "-c", script, "sh", json.dumps(channels))
        said = as_joe(pair, "pc-a", *command, check=False)
        assert ("channels.telegram.botToken: has a placeholder" in said) == (token == "placeholder-kept")
    assert "withheld by the source: config" in sync(pair)
    assert read(pair, "pc-b") == good
    write(pair, "pc-a", good)
    pair.on("pc-a", "rm", "-r", f"{STATE}/parts")


def test_one_that_only_pc_a_can_use_stays_there(pair: Pair, good: str) -> None:
    """A variable that the standby does not have: it keeps what it can start with, and people are told of it."""
    tree = json.loads(good)
    tree.setdefault("env", {}).setdefault("vars", {})["HERE"] = "x"
    own = "/etc/dualjoe/config.json"
    settings = json.loads(pair.on("pc-a", "cat", own).stdout)
    pair.on("pc-a", "cp", "--preserve", own, f"{own}.test")
    try:
        wider = json.dumps({**settings, "environment": [*settings["environment"], "ONLY_HERE"]})
        pair.on("pc-a", "sh", "-c", f'printf %s "$1" > {own}', "sh", wider)
        since = len(pair.alerts())
        write(pair, "pc-a", json.dumps({**tree, "messages": {"responsePrefix": "${ONLY_HERE}"}}))
        wait_until(lambda: "ONLY_HERE" in pair.on("pc-a", "sh", "-c", f"cat {GOOD}/*").stdout, "it is good on PC-A", 90)
        assert "not published, as it is bad on this node: config" in sync(pair)
        assert read(pair, "pc-b") == good
        alert = wait_for_alert(pair, since, "Job config-check on pc-b failed", 90)
        assert "ONLY_HERE" in alert
    finally:
        pair.on("pc-a", "mv", f"{own}.test", own)
        write(pair, "pc-a", good)
        # The variable is meant to go.
        as_joe(pair, "pc-a", "/usr/local/bin/dualjoe", "config", "check", "--accept-losses")
    wait_until(lambda: check(pair, "pc-a")["result"] == "ok", "PC-A's configuration is good again", 90)
    sync(pair)
    wait_until(lambda: check(pair, "pc-b")["result"] == "ok", "PC-B has nothing to tell any more", 90)
