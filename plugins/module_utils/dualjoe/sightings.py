"""What a good or a missed check changes in the witness's picture of one node. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .pair import Sighting


def heard(before: Sighting, probe: Mapping[str, Any], now: float, confirm_checks: int) -> Sighting:
    """The node answered ``probe`` at ``now``.

    After ``confirm_checks`` missed checks, or a boot, what it had been trusted with before counts no longer.
    """
    was_away = before.heard_at is None or before.failures >= confirm_checks
    same_boot = before.probe.get("boot_id") == probe.get("boot_id")
    fit_since = before.fit_since if not was_away and same_boot else None
    return Sighting(
        node=before.node,
        heard_at=now,
        heard_since=now if was_away else before.heard_since,
        failures=0,
        probe=probe,
        boot_since=before.boot_since if same_boot and before.boot_since is not None else now,
        fit_since=(now if fit_since is None else fit_since) if probe.get("fit") is True else None,
        sick=_sick(before, probe),
    )


def missed(before: Sighting) -> Sighting:
    """The node did not answer in time, or answered that it cannot."""
    return replace(before, failures=before.failures + 1)


def let_down(before: Sighting, now: float) -> Sighting:
    """It answers, but failed at what it was asked to do: it has to earn trust anew before the next move home."""
    return before if before.fit_since is None else replace(before, fit_since=now)


def _sick(before: Sighting, probe: Mapping[str, Any]) -> int:
    """Failed full checks in a row, each counted once although many probes tell of it."""
    gateway = probe.get("gateway", {})
    if probe.get("role") != "active" or gateway.get("full_check") != "failed":
        return 0
    told_before = before.probe.get("gateway", {}).get("full_checks"), before.probe.get("epoch")
    if told_before == (gateway.get("full_checks"), probe.get("epoch")):
        return before.sick
    return before.sick + 1
