"""restic, run within a job's time, with what its exit codes mean. Its secrets stand in its environment only."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .job import JobFailed
from .rsync import Deadline, first_line

INCOMPLETE, NO_REPOSITORY, LOCKED, WRONG_PASSWORD = 3, 10, 11, 12
_MEANINGS = {
    INCOMPLETE: "some files could not be read, so what is there now is not whole",
    NO_REPOSITORY: "there is no repository; see that its place is there, or let one be made by init",
    LOCKED: "somebody else is using the repository",
    WRONG_PASSWORD: "the password is not that of the repository",
}
# Before 0.17 the exit code is 1 for all of these.
_SAID = {
    "Is there a repository at the following location?": NO_REPOSITORY,
    "repository is already locked": LOCKED,
    "wrong password or no key found": WRONG_PASSWORD,
}
_LOCKED_SECONDS, _AGAIN_SECONDS = 1800.0, 15.0


class ResticFailed(JobFailed):
    """``code``: what its exit code would be in 0.17."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Restic:
    """One repository. ``environment``: what its place needs, such as AWS_ACCESS_KEY_ID. ``cache``: a folder of its
    own."""

    repository: str
    password: str
    environment: Mapping[str, str]
    cache: Path
    deadline: Deadline

    def run(self, *words: str) -> str:
        """Its output. A repository that is in use is waited for, and a lock that nobody holds any more is removed.

        Raises ResticFailed.
        """
        give_up = time.monotonic() + _LOCKED_SECONDS
        while True:
            try:
                return self._run(*words)
            except ResticFailed as error:
                if error.code != LOCKED or time.monotonic() >= give_up:
                    raise
            self._run("unlock")  # only those of processes that are no more
            time.sleep(_AGAIN_SECONDS)

    def _run(self, *words: str) -> str:
        secrets = {"RESTIC_REPOSITORY": self.repository, "RESTIC_PASSWORD": self.password, **self.environment}
        known = {name: os.environ[name] for name in ("HOME", "PATH") if name in os.environ}
        own = {"RESTIC_CACHE_DIR": str(self.cache), "TZ": "UTC", "LC_ALL": "C"}
        try:
            done = subprocess.run(
                ["restic", *words],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=self.deadline.left(),
                env={**known, **own, **secrets},
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise JobFailed(f"restic was not done when the run's {self.deadline.seconds:.0f} s were over") from error
        except OSError as error:
            raise JobFailed(f"restic: {error.strerror}; run site.yml again") from error
        if done.returncode == 0:
            return done.stdout.decode("utf-8", "replace")
        complaint = done.stderr.decode("utf-8", "replace")
        code = next((meant for said, meant in _SAID.items() if said in complaint), done.returncode)
        meaning = _MEANINGS.get(code, f"ended with {code}")
        raise ResticFailed(code, f"restic {words[0]}: {meaning}: {self._without_secrets(first_line(done.stderr))}")

    def _without_secrets(self, text: str) -> str:
        for secret in sorted((self.repository, self.password, *self.environment.values()), key=len, reverse=True):
            text = text.replace(secret, "***") if secret else text
        return text
