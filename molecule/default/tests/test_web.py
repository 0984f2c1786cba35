"""The page that T440 shows the pair on."""

from __future__ import annotations

import json
import re
from typing import Any

from pair import Pair, wait_until

testinfra_hosts = ["docker://t440"]

URL = "http://127.0.0.1:8440"


def get(host: Any, path: str) -> str:
    return str(host.check_output(f"curl --silent --show-error --fail --max-time 5 {URL}/{path}"))


def test_it_is_served_to_t440_alone_by_a_user_of_its_own(host: Any) -> None:
    service = host.service("dualjoe-web")
    assert service.is_running
    assert service.is_enabled
    assert host.socket("tcp://127.0.0.1:8440").is_listening
    assert not host.socket("tcp://0.0.0.0:8440").is_listening
    process = host.process.get(user="dualjoe-web", comm="dualjoe-web")
    told = host.check_output(f"cat /proc/{process.pid}/status")
    assert re.search(r"^CapEff:\s+0+$", told, re.MULTILINE)


def test_it_shows_who_serves_and_what_the_watchdog_says(pair: Pair, host: Any) -> None:
    wait_until(lambda: pair.gateway_ready("pc-a"), "PC-A's gateway is ready", 240)
    wait_until(lambda: "Joe is at home on pc-a" in get(host, ""), "the page shows it", 30)
    assert get(host, "healthz") == "ok"
    assert json.loads(get(host, "api/v1/status"))["holder"] == "pc-a"
    assert 'dualjoe_active{node="pc-a"} 1.0' in get(host, "metrics")
    wait_until(lambda: "<polyline" in get(host, "") or "<circle class" in get(host, ""), "there are samples", 90)


def test_it_is_light_and_quick(host: Any) -> None:
    parts = sorted(set(re.findall(r'"(static/[^"]+)"', get(host, ""))))
    urls = " ".join(f"--output /dev/null {URL}/{part}" for part in ["", *parts])
    told = host.check_output(f"curl --silent --fail --write-out '%{{time_total}} %{{size_download}}\\n' {urls}")
    figures = [list(map(float, line.split())) for line in told.splitlines()]
    assert len(figures) == 1 + len(parts) >= 4
    assert sum(seconds for seconds, _ in figures) < 1
    assert sum(size for _, size in figures) < 200_000


def test_its_service_may_only_look(host: Any) -> None:
    ask = "from dualjoe import control; print(control.ask('pause', seconds=60)['error'])"
    who = "setpriv --reuid=dualjoe-web --regid=dualjoe-web --groups=$(getent group dualjoe | cut -d: -f3)"
    told = host.check_output(f'cd /usr/local/lib/dualjoe && {who} python3 -c "{ask}"')
    assert told == "not_allowed"
    for hidden in ("/etc/dualjoe/telegram.token", "/var/lib/dualjoe/witness.sqlite"):
        assert host.file(hidden).exists
        pid = host.process.get(user="dualjoe-web", comm="dualjoe-web").pid
        assert host.run(f"nsenter --target {pid} --mount cat {hidden}").rc != 0
