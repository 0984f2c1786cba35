"""What comes from another machine: its answer to `export`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from dualjoe_jobs.job import JobFailed
from dualjoe_jobs.rsync import Deadline
from dualjoe_jobs.source import Source

if TYPE_CHECKING:
    from pathlib import Path


def test_a_source_that_dies_in_the_midst_of_its_answer_is_named(tmp_path: Path) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text('#!/bin/sh\necho \'{"v":1,"ok":true}\'\nexit 137\n')
    ssh.chmod(0o755)
    with pytest.raises(JobFailed, match="prepared no export: it ended with 137 in the midst of its answer"):
        Source("joe@t440", [str(ssh)], tmp_path, Deadline(30)).ask_export()
