"""What is known of the pair, or of one node, as metrics in the text format of Prometheus. Pure.

Names and units follow Prometheus's rules. What was not told has no sample: a missing age is not an age of 0.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from . import freshness

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_MEANINGS = {
    "dualjoe_watchdog_up": "Whether the watchdog on T440 answers.",
    "dualjoe_guard_up": "Whether the guard of this node answers.",
    "dualjoe_situation": "1 for the word of the pair's situation.",
    "dualjoe_epoch": "The highest epoch ever granted.",
    "dualjoe_paused": "Whether nobody is moved because people work on the pair.",
    "dualjoe_observing": "Whether T440 moves nobody by itself.",
    "dualjoe_troubles": "How many troubles stand now.",
    "dualjoe_alerts_waiting": "How many alerts have not left T440 yet.",
    "dualjoe_node_up": "Whether the node answers T440.",
    "dualjoe_check_duration_seconds": "How long the node's last good check took.",
    "dualjoe_active": "Whether the node was seen to hold the lease.",
    "dualjoe_lease_remaining_seconds": "How long the node's lease lasts if it is not renewed.",
    "dualjoe_node_epoch": "The highest epoch that the node has accepted.",
    "dualjoe_node_fit": "Whether the node could run the gateway now.",
    "dualjoe_gateway_ready": "Whether the node's gateway is ready.",
    "dualjoe_memory_age_seconds": "Age of the memory that a passive node would start with.",
    "dualjoe_backup_age_seconds": "Age of what the node has of T440's data.",
    "dualjoe_job_success": "Whether the job's last run did not fail.",
    "dualjoe_job_warnings": "Of how many kinds of trouble the job's last run warned, though it did not fail.",
    "dualjoe_job_last_end_timestamp_seconds": "When the job's last run ended.",
    "dualjoe_job_skipped_runs": "Runs in a row that were skipped because another one was still going.",
}
_JOB = re.compile(r"[a-z0-9-]{1,60}")

Sample = tuple[str, dict[str, str], float]  # name, labels, value


def names() -> frozenset[str]:
    """Of all metrics that there can be."""
    return frozenset(_MEANINGS)


def of_pair(status: Mapping[str, Any] | None) -> str:
    """What the watchdog's ``status`` says; None where it does not answer."""
    return _text(() if status is None else _pair(status), "dualjoe_watchdog_up", status is not None)


def of_node(probe: Mapping[str, Any] | None) -> str:
    """What a node's own guard says by its ``probe``; None where it does not answer."""
    return _text(() if probe is None else _node(str(probe.get("node")), probe, 0.0), "dualjoe_guard_up", bool(probe))


def _pair(status: Mapping[str, Any]) -> Iterator[Sample]:
    yield "dualjoe_situation", {"situation": str(status.get("situation"))}, 1
    yield "dualjoe_epoch", {}, _number(status.get("epoch"))
    yield "dualjoe_paused", {}, status.get("pause") is not None
    yield "dualjoe_observing", {}, status.get("mode") == "observe"
    yield "dualjoe_troubles", {}, len(status.get("troubles", ()))
    yield "dualjoe_alerts_waiting", {}, _number(status.get("alerts_waiting"))
    for name, node in sorted(status.get("nodes", {}).items()):
        heard = node.get("heard") is True
        yield "dualjoe_node_up", {"node": name}, heard
        if heard:
            yield "dualjoe_check_duration_seconds", {"node": name}, _number(node.get("check_seconds"))
            yield from _node(name, node.get("probe", {}), _number(node.get("heard_seconds_ago")))
        else:
            yield "dualjoe_active", {"node": name}, 0
    yield from _jobs("T440", status.get("jobs"))


def _node(name: str, probe: Mapping[str, Any], ago: float) -> Iterator[Sample]:
    """``ago``: how many seconds old the probe is."""
    label = {"node": name}
    active = probe.get("role") == "active"
    memory, gateway = _object(probe.get("memory")), _object(probe.get("gateway"))
    yield "dualjoe_active", label, active
    yield "dualjoe_lease_remaining_seconds", label, max(0.0, _number(probe.get("lease_left")) - ago) if active else 0
    yield "dualjoe_node_epoch", label, _number(probe.get("epoch"))
    yield "dualjoe_node_fit", label, probe.get("fit") is True
    yield "dualjoe_gateway_ready", label, gateway.get("state") == "ready"
    yield "dualjoe_memory_age_seconds", label, math.nan if active else _number(memory.get("age_seconds")) + ago
    yield "dualjoe_backup_age_seconds", label, _number(freshness.captured_age("backup", probe)) + ago
    yield from _jobs(name, probe.get("jobs"))


def _jobs(machine: str, jobs: object) -> Iterator[Sample]:
    for name, job in sorted(_object(jobs).items()):
        if not isinstance(job, dict) or not job.get("result") or not _JOB.fullmatch(name):
            continue  # a job may leave details in a file beside it
        label = {"node": machine, "job": name}
        ran = job["result"] != "scheduled"  # otherwise its first run is still to come
        yield "dualjoe_job_success", label, job["result"] not in ("failed", "unreadable") if ran else math.nan
        warnings = job.get("warnings")
        yield "dualjoe_job_warnings", label, len(warnings) if isinstance(warnings, dict) else math.nan
        yield "dualjoe_job_last_end_timestamp_seconds", label, _moment(job.get("finished_at"))
        yield "dualjoe_job_skipped_runs", label, _number(job.get("skipped_in_a_row"))


def _text(samples: Any, up_name: str, up: bool) -> str:
    """All samples of one name together, as the format wants it; those without a value are left out."""
    found: dict[str, list[str]] = {}
    for name, labels, value in (*((up_name, {}, up),), *samples):
        if math.isfinite(value):
            told = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
            found.setdefault(name, []).append(
                f"{name}{{{told}}} {float(value)!r}" if told else f"{name} {float(value)!r}"
            )
    lines = []
    for name, each in found.items():
        lines += [f"# HELP {name} {_MEANINGS[name]}", f"# TYPE {name} gauge", *each]
    return "\n".join([*lines, ""])


def _escaped(text: str) -> str:
    return text[:200].replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: object) -> float:
    """What was told, if it is a number; NaN otherwise."""
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e18
    return float(value) if good else math.nan  # type: ignore[arg-type]


def _moment(value: object) -> float:
    """A UTC time of ISO 8601 in seconds; NaN for what is none."""
    try:
        return datetime.fromisoformat(str(value).replace("Z", "+00:00")).timestamp()
    except (ValueError, OverflowError):
        return math.nan
