"""When people are told what they are to know, and in which messages. Pure.

What waits leaves in its order, and as few messages as it fits into: after an hour in which a channel took nothing, that
is one message and no flood. An urgent notice waits for nothing but the rate, and takes along what came before it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

BEGUN, LASTS, OVER = "begun", "lasts", "over"  # of a trouble

LIMIT = 4096  # characters of a Telegram message
MINUTE_SECONDS = 60.0
DAY_MINUTES = 1440
LATE_SECONDS = 60.0  # what is told later than that is told with its time
_AT_ONCE = 500  # at most so many are put into one message; more would take long to compose
_TAIL = 600  # of a text that is cut: the end says what to do


@dataclass(frozen=True)
class Notice:
    """Something to tell people. ``key`` and ``phase`` are those of a trouble, '' for what stands alone; one that is not
    ``urgent`` can wait for the end of quiet hours, and for others to go with it."""

    text: str
    urgent: bool = False
    key: str = ""
    phase: str = ""


@dataclass(frozen=True)
class Waiting:
    """A notice that a channel has not taken yet. ``at``: when it came up by the wall clock, ``since``: from when on it
    has waited by the monotonic one, both in seconds."""

    number: int
    notice: Notice
    at: float
    since: float


@dataclass(frozen=True)
class Quiet:
    """Quiet hours of each day, in minutes after midnight, local time; they may go over midnight."""

    start: int
    end: int

    @classmethod
    def parse(cls, text: str) -> Quiet:
        """From "22:00-07:00". Raises ValueError."""
        match = re.fullmatch(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)", text)
        if match is None or match[1] + match[2] == match[3] + match[4]:
            raise ValueError('quiet hours are two different times of the day, as in "22:00-07:00"')
        hours = [int(part) for part in match.groups()]
        return cls(hours[0] * 60 + hours[1], hours[2] * 60 + hours[3])

    def left(self, local: datetime) -> float:
        """Seconds until they end; 0 when it is not quiet."""
        minute = local.hour * 60 + local.minute
        length = (self.end - self.start) % DAY_MINUTES
        gone = (minute - self.start) % DAY_MINUTES
        return (length - gone) * MINUTE_SECONDS - local.second if gone < length else 0.0


@dataclass(frozen=True)
class Rules:
    """``group_seconds``: what is not urgent waits so long for others to go with it; ``per_minute``: messages that may
    leave in a minute, half of them for what can wait."""

    group_seconds: float = 5.0
    per_minute: int = 10
    quiet: Quiet | None = None


def wait(waiting: Sequence[Waiting], rules: Rules, sent: Sequence[float], now: float, local: datetime) -> float:
    """Seconds until the next message may leave; 0 is now.

    ``waiting`` has one at least; ``sent``: when the last messages left; ``sent`` and ``now`` in monotonic seconds, of
    which the wall clock ``local`` knows nothing: when it jumps, quiet hours begin or end, and nothing else changes.
    """
    urgent = any(each.notice.urgent for each in waiting)
    allowed = rules.per_minute if urgent else max(1, rules.per_minute // 2)
    recent = [at for at in sent if now - at < MINUTE_SECONDS]
    seconds = recent[-allowed] + MINUTE_SECONDS - now if len(recent) >= allowed else 0.0
    if not urgent:
        seconds = max(seconds, waiting[0].since + rules.group_seconds - now)
        seconds = max(seconds, rules.quiet.left(local) if rules.quiet else 0.0)
    return max(0.0, seconds)


def message(waiting: Sequence[Waiting], pair: str, wall: float, limit: int = LIMIT) -> tuple[int, str]:
    """The next message: the number of the last notice that it tells, and its text, of at most ``limit`` characters.

    It tells the first of ``waiting``, and of those behind it, in their order, as many as it has room for.
    """
    waiting = waiting[:_AT_ONCE]
    text = _composed(waiting, pair, wall)
    if length(text) <= limit:
        return waiting[-1].number, text
    last, text = waiting[0].number, _composed(waiting[:1], pair, wall)
    for count in range(2, len(waiting)):
        more = _composed(waiting[:count], pair, wall)
        if length(more) > limit:
            break
        last, text = waiting[count - 1].number, more
    return last, _cut(text, limit)


def length(text: str) -> int:
    """As Telegram counts: what lies outside Unicode's first plane counts twice."""
    return len(_units(text)) // 2


def clean(text: str) -> str:
    """Without halves of characters and control characters, for which a channel would refuse a message for ever."""
    whole = _units(text).decode("utf-16-le", "replace")
    return "".join(c if c.isprintable() or c == "\n" else " " for c in whole)


@dataclass(frozen=True)
class _Line:
    """What is told as one: a notice, or a trouble from its beginning to its end."""

    notice: Notice
    at: float
    until: float | None = None


def _composed(waiting: Sequence[Waiting], pair: str, wall: float) -> str:
    lines = _lines(waiting)
    if len(lines) == 1:
        (line,) = lines
        late = line.until is not None or wall - line.at > LATE_SECONDS
        return f"[{pair}] {_times(line, wall)}: {line.notice.text}" if late else f"[{pair}] {line.notice.text}"
    urgent = sum(line.notice.urgent for line in lines)
    head = f"[{pair}] {len(lines)} notices{f', {urgent} of them urgent (!)' if urgent else ''}:"
    marks = ("", " !")
    return "\n".join([head, *(f"{_times(ln, wall)}{marks[ln.notice.urgent]} {ln.notice.text}" for ln in lines)])


def _lines(waiting: Sequence[Waiting]) -> list[_Line]:
    """A trouble that begins here ends in the same line; of its reminders only the last one is told, and none once it is
    over."""
    lines: dict[int, _Line] = {}
    standing: dict[str, int] = {}  # a trouble's key -> its line
    for each in waiting:
        notice, number = each.notice, standing.get(each.notice.key, each.number)
        begun = lines[number].notice.phase == BEGUN if number in lines else False
        if notice.phase == OVER and begun:
            whole = replace(notice, text=f"{lines[number].notice.text} {notice.text}")
            lines[number] = _Line(whole, lines[number].at, each.at)
        elif notice.phase == LASTS and begun:
            continue
        else:
            lines.pop(number, None)
            number = each.number
            lines[number] = _Line(notice, each.at)
        standing.pop(notice.key, None)
        if notice.phase in (BEGUN, LASTS):
            standing[notice.key] = number
    return list(lines.values())


def _times(line: _Line, wall: float) -> str:
    """Local time, with the date where that is not today's."""
    moments = [datetime.fromtimestamp(at).astimezone() for at in (line.at, line.until) if at is not None]
    today = datetime.fromtimestamp(wall).astimezone().date()
    told = [f"{moment:%H:%M}" if moment.date() == today else f"{moment:%Y-%m-%d %H:%M}" for moment in moments]
    return " to ".join(told)


def _cut(text: str, limit: int) -> str:
    """At most so many characters; what is left out is said, and is in the journal."""
    if length(text) <= limit:
        return text
    units = _units(text)
    note = f" [... {length(text) - limit} characters and more are left out, and are in the journal ...] "
    head = units[: 2 * (limit - _TAIL - length(note))].decode("utf-16-le", "ignore")
    return head + note + units[-2 * _TAIL :].decode("utf-16-le", "ignore")


def _units(text: str) -> bytes:
    return text.encode("utf-16-le", "surrogatepass")
