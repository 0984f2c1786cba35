"""A play of the project's own tasks, run on this machine, which stands for each host."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]


def attempt(
    folder: Path,
    play: Mapping[str, Any],
    *words: str,
    hosts: Mapping[str, Mapping[str, Any]] | None = None,
    groups: Mapping[str, Any] | None = None,
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    """Run a play, whatever comes of it; facts are not gathered. Its files are written into ``folder``. ``hosts``: by
    name, with their variables (default: localhost); ``groups``: as YAML inventories have children."""
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    known = {"vars": local, "hosts": hosts or ({} if groups else {"localhost": {}}), "children": groups or {}}
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": known}), encoding="utf-8")
    (folder / "play.yml").write_text(yaml.safe_dump([{"gather_facts": False, **play}]), encoding="utf-8")
    command = [f"{sys.prefix}/bin/ansible-playbook", "-i", str(folder / "hosts.yml"), *words, str(folder / "play.yml")]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=300
    )


def run(folder: Path, play: Mapping[str, Any], *words: str, **more: Any) -> str:
    """Run a play that must succeed. Returns what it printed."""
    done = attempt(folder, play, *words, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
