"""One message to a Telegram chat. Standard library only: nodes send alerts too.

It is sent by a process of its own, which runs this file and can be ended: whoever answers in Telegram's place, byte by
byte or with what no reader can bear, does no harm to the watch.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

TIMEOUT_SECONDS = 20.0  # a message must be sent by then


@dataclass(frozen=True)
class Chat:
    """Where alerts go. The bot's token stands in a file of its own."""

    api_base: str
    token_file: Path
    chat_id: str


class NotSent(Exception):
    """The channel did not take the message. The text never holds a secret. ``retry_after``: seconds for which the
    channel wants to be left alone."""

    def __init__(self, why: str, retry_after: float = 0.0) -> None:
        super().__init__(why)
        self.retry_after = retry_after


def send(chat: Chat, text: str) -> None:
    """Send one message; blocks for at most TIMEOUT_SECONDS. Raises NotSent."""
    asked = json.dumps([chat.api_base, str(chat.token_file), chat.chat_id, text]).encode()
    command = (sys.executable, "-I", __file__)
    try:
        done = subprocess.run(command, input=asked, capture_output=True, timeout=TIMEOUT_SECONDS, check=False)
        why, pause = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise NotSent(f"it did not end within {TIMEOUT_SECONDS:g} s") from None
    except OSError as error:
        raise NotSent(f"the process that sends it cannot be run: {error.strerror}") from None
    except ValueError:  # it ended without a word
        raise NotSent("the process that sends it failed, as at an answer that no reader can bear") from None
    if why:
        raise NotSent(why, pause)


def _main() -> None:
    api_base, token_file, chat_id, text = json.load(sys.stdin)
    try:
        _send(Chat(api_base, Path(token_file), chat_id), text)
        told = ["", 0.0]
    except NotSent as refusal:
        told = [str(refusal), refusal.retry_after]
    json.dump(told, sys.stdout)


def _send(chat: Chat, text: str) -> None:
    try:
        token = chat.token_file.read_text(encoding="utf-8").strip()
        request = urllib.request.Request(  # noqa: S310 - the settings take http and https only
            f"{chat.api_base.rstrip('/')}/bot{token}/sendMessage",
            data=json.dumps({"chat_id": chat.chat_id, "text": text}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
            taken = json.loads(answer.read(65536)).get("ok") is True
    except urllib.error.HTTPError as error:
        why, pause = _refusal(error)
        raise NotSent(f"the Bot API answered {error.code}{why}", pause) from None  # the error's address holds the token
    except (OSError, ValueError, AttributeError, http.client.HTTPException) as error:
        raise NotSent(type(error).__name__) from None
    if not taken:
        raise NotSent("the Bot API did not take it")


def _refusal(error: urllib.error.HTTPError) -> tuple[str, float]:
    """What the Bot API says, and for how many seconds it wants to be left alone, at most an hour."""
    try:
        with error:
            told = json.loads(error.read(65536))
        why = f": {told['description'][:200]}" if isinstance(told.get("description"), str) else ""
        return why, min(max(float(told.get("parameters", {}).get("retry_after", 0)), 0.0), 3600.0)
    except (OSError, ValueError, TypeError, AttributeError, http.client.HTTPException):
        return "", 0.0


if __name__ == "__main__":
    _main()
