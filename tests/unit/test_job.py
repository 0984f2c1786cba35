"""What each run of a job leaves, and what it makes up for."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from dualjoe_jobs import job, ping
from dualjoe_jobs.job import JobFailed, Outcome

FETCHED = Outcome("ok", "3 files", "2026-11-24T06:00:00Z", "20261124T060000Z")
FAILED = Outcome("failed", "no route")


class Runs:
    """A job that ends as it is told to, one time after another."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.outcomes: list[Outcome | Exception] = []

    def run(self, *outcomes: Outcome | Exception, **more: Any) -> int:
        self.outcomes = list(outcomes)
        return job.run("backup", self.place / "lock", self.place, self._work, **more)

    def _work(self) -> Outcome:
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    @property
    def left(self) -> int:
        return len(self.outcomes)

    @property
    def message(self) -> str:
        return str(json.loads((self.place / "backup.json").read_text())["message"])


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


# Missed runs


@pytest.mark.parametrize(
    ("outcome", "ago", "again"),
    [
        (FETCHED, 3590, False),
        (FETCHED, 3600, True),
        (FETCHED, -60, True),  # a clock that was wrong
        (FAILED, 60, True),
        (None, 0, True),
    ],
)
def test_a_run_that_was_missed_is_made_up_for(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, outcome: Outcome | None, ago: float, again: bool
) -> None:
    if outcome is not None:
        ended = datetime.now(timezone.utc) - timedelta(seconds=ago)
        with monkeypatch.context() as then:
            then.setattr(job, "utc_now", lambda: ended.strftime("%Y-%m-%dT%H:%M:%SZ"))
            runs.run(outcome)
    assert runs.run(FETCHED, if_older_than=3600) == job.DONE
    assert runs.left == (0 if again else 1)


def test_a_first_run_that_was_scheduled_a_while_ago_is_not_missed_yet(runs: Runs) -> None:
    scheduled = {"result": "scheduled", "finished_at": job.utc_now()}
    (runs.place / "backup.json").write_text(json.dumps(scheduled))
    runs.run(FETCHED, if_older_than=3600)
    assert runs.left == 1
    (runs.place / "backup.json").write_text(json.dumps({**scheduled, "finished_at": "2026-11-01T00:00:00Z"}))
    runs.run(FETCHED, if_older_than=3600)
    assert runs.left == 0


@pytest.mark.parametrize("nonsense", ["", "[]", '{"result": "ok"}', '{"result": "ok", "finished_at": 5}'])
def test_a_result_that_makes_no_sense_is_no_good_run(runs: Runs, nonsense: str) -> None:
    (runs.place / "backup.json").write_text(nonsense)
    runs.run(FETCHED, if_older_than=3600)
    assert runs.left == 0


def test_after_a_boot_the_others_are_waited_for(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "_AGAIN_SECONDS", 0.0)
    assert runs.run(JobFailed("no route"), FAILED, FETCHED, if_older_than=3600) == job.DONE
    assert runs.message == "3 files"


def test_and_not_for_ever(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "_TRIED_SECONDS", 0.0)
    assert runs.run(JobFailed("no route"), FETCHED, if_older_than=3600) == job.FAILED
    assert (runs.left, runs.message) == (1, "no route")


def test_a_run_of_its_own_hour_is_not_tried_again(runs: Runs) -> None:
    assert runs.run(JobFailed("no route"), FETCHED) == job.FAILED
    assert runs.left == 1


# The dead man's switch


class Service:
    """A ping service over real HTTP: keeps the paths it was asked for, and answers as it is told to."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.code = 200
        self.silent = threading.Event()
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                service.paths.append(self.path)
                if service.silent.is_set():
                    time.sleep(2)
                self.send_response(service.code)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/secret-of-ada"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    made = Service()
    urls = tmp_path / "pings.json"
    urls.write_text(json.dumps({"backup": made.url}))
    monkeypatch.setattr(ping, "URLS", urls)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("outcome", "path"),
    [
        (FETCHED, "/secret-of-ada"),
        (Outcome("skipped", "this node is active"), "/secret-of-ada"),
        (FAILED, "/secret-of-ada/fail"),
        (JobFailed("no route"), "/secret-of-ada/fail"),
    ],
)
def test_the_job_s_url_hears_how_a_run_ended(runs: Runs, service: Service, outcome: Any, path: str) -> None:
    runs.run(outcome)
    assert service.paths == [path]


@pytest.mark.parametrize("path", ["?ada=secret", "/ping?ada=secret#x", "/"])
def test_a_failure_is_told_in_the_url_s_path_before_its_query(runs: Runs, service: Service, path: str) -> None:
    ping.URLS.write_text(json.dumps({"backup": service.url + path}))
    runs.run(FAILED)
    wanted = {"?ada=secret": "/fail?ada=secret", "/ping?ada=secret#x": "/ping/fail?ada=secret", "/": "/fail"}
    assert service.paths == [f"/secret-of-ada{wanted[path]}"]


def test_a_run_that_was_not_made_or_that_somebody_waits_for_pings_nobody(runs: Runs, service: Service) -> None:
    runs.run(FETCHED, pinged=False)
    runs.run(FETCHED, if_older_than=3600)
    assert service.paths == []


def _gone(service: Service) -> None:
    service.url = "http://127.0.0.1:1/secret-of-ada"


def _refusing(service: Service) -> None:
    service.code = 404


def _slow(service: Service) -> None:
    service.silent.set()


def _strange(service: Service) -> None:
    service.url = "http://127.0.0.1/secret-of-ada with spaces"


def _no_web(service: Service) -> None:
    service.url = "file:///secret-of-ada"


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (_gone, "ConnectionRefusedError"),
        (_refusing, "404"),
        (_slow, "TimeoutError"),
        (_strange, "InvalidURL"),
        (_no_web, "URLError"),
    ],
)
def test_a_ping_that_fails_fails_nothing_and_tells_nobody_the_url(
    runs: Runs,
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    harm: Any,
    says: str,
) -> None:
    monkeypatch.setattr(ping, "_SECONDS", 0.2 if harm is _slow else 60.0)
    harm(service)
    ping.URLS.write_text(json.dumps({"backup": service.url}))
    assert runs.run(FETCHED) == job.DONE
    told = capsys.readouterr().err
    assert told == f"dualjoe backup: its ping URL did not hear of this run: {says}\n"


@pytest.mark.parametrize("urls", ["", "[]", '{"drill": "http://127.0.0.1:1/"}', "{}"])
def test_urls_that_make_no_sense_or_are_of_other_jobs_fail_nothing(runs: Runs, service: Service, urls: str) -> None:
    ping.URLS.write_text(urls)
    assert runs.run(FETCHED) == job.DONE
    assert service.paths == []
