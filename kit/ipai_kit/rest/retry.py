# SPDX-License-Identifier: Apache-2.0
"""What a reply means and how long to wait before the next try: pure functions."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto

from ipai_kit.rest.calls import Reply

__all__ = ["Action", "RetryPolicy", "Verdict", "classify_rest", "quota_left", "retry_after"]

_LIMIT_TEXT = re.compile(
    rb"rate.?limit|secondary.?limit|abuse.?detection|too many requests|quota", re.IGNORECASE
)
_DELAY = re.compile(rb'"retryDelay"\s*:\s*"(\d+(?:\.\d+)?)s"')
_RETRIED = {408, 425, 500, 502, 503, 504, 507, 509, 520, 521, 522, 523, 524, 529, 530, 599}
_EPOCH = 1_000_000_000


class Action(Enum):
    """What to do with a reply."""

    OK = auto()  # read it
    EMPTY = auto()  # zero records
    UNCHANGED = auto()  # 304: nothing new since the last run
    RETRY = auto()  # the same request may succeed soon
    LIMITED = auto()  # the quota is spent: everyone waits
    RENEW = auto()  # the token may be too old: renew once
    SKIP = auto()  # leave this stream or partition out
    CREDENTIALS = auto()
    CONFIGURATION = auto()
    INTERNAL = auto()


@dataclass(frozen=True)
class Verdict:
    """The meaning of a reply. `wait` is what the source told, in seconds."""

    action: Action
    reason: str = ""
    wait: float | None = None
    bucket: str = "*"
    lasting: bool = False
    next_step: str = ""


@dataclass(frozen=True)
class RetryPolicy:
    """Budgets and growth of the waits between tries."""

    max_attempts: int = 6
    max_wait_seconds: float = 900.0
    retries_per_run: int = 1000
    first_wait: float = 0.5
    longest_wait: float = 60.0
    unexplained_limit_wait: float = 60.0

    def backoff(self, attempt: int, randomness: random.Random) -> float:
        """Return an exponential wait with full jitter, so that clients do not return together."""
        return randomness.uniform(0, min(self.longest_wait, self.first_wait * 2 ** (attempt - 1)))

    def limit_wait(self, attempt: int, randomness: random.Random) -> float:
        """Return the wait after a limit that does not say when it ends."""
        return self.unexplained_limit_wait * 2.0 ** (attempt - 1) * randomness.uniform(1, 1.25)


def classify_rest(reply: Reply) -> Verdict:
    """Judge a reply by status, headers and body; a 403 alone says too little."""
    status = reply.status
    if status == 304:
        return Verdict(Action.UNCHANGED)
    if status in (204, 205):
        return Verdict(Action.EMPTY)
    if status == 202:
        return Verdict(Action.RETRY, "The answer is not ready yet.", retry_after(reply))
    if status < 300:
        return Verdict(Action.OK)
    if status in (403, 429) and (limit := _limit(reply)):
        return limit
    if status in _RETRIED:
        return Verdict(Action.RETRY, "The source failed.", retry_after(reply))
    return _refusal(reply)


def _refusal(reply: Reply) -> Verdict:
    if reply.status == 401:
        return Verdict(
            Action.RENEW, "The credentials are not accepted.", next_step="Renew the token or key."
        )
    if reply.status == 403:
        return Verdict(Action.SKIP, "The permission is missing.", next_step=_scope_hint(reply))
    if reply.status in (404, 410, 451):
        return Verdict(
            Action.CONFIGURATION, "The source does not have this.", next_step="Check its name."
        )
    return Verdict(Action.INTERNAL, "The source refuses the request.", next_step="Report it.")


def _scope_hint(reply: Reply) -> str:
    for name in ("x-accepted-oauth-scopes", "x-accepted-github-permissions"):
        if reply.headers.get(name):
            return f"Grant the token {reply.headers[name]!r}."
    return "Grant the token read access to it."


def _limit(reply: Reply) -> Verdict | None:
    wait = retry_after(reply)
    if wait is None and (told := _DELAY.search(reply.body[:65536])):
        wait = float(told[1])  # Google's APIs tell it in the body
    remaining, reset = quota_left(reply)
    if wait is not None:
        return Verdict(Action.LIMITED, "The source asks to slow down.", wait)
    if remaining == 0 and reset is not None:
        return Verdict(Action.LIMITED, "The quota is spent.", reset, bucket="")
    if reply.status == 429 or _LIMIT_TEXT.search(reply.body[:4096]):
        return Verdict(Action.LIMITED, "The source asks to slow down.")
    return None


def retry_after(reply: Reply) -> float | None:
    """Read Retry-After, seconds or a date."""
    text = reply.headers.get("retry-after", "").strip()
    if not text:
        return None
    try:
        return max(float(text), 0.0)
    except ValueError:
        try:
            return max(parsedate_to_datetime(text).timestamp() - _server_time(reply), 0.0)
        except ValueError:
            return None


def quota_left(reply: Reply) -> tuple[int | None, float | None]:
    """Read how many requests are left and in how many seconds the window starts anew."""
    remaining = _number(reply.headers, "x-ratelimit-remaining", "ratelimit-remaining")
    reset = _number(reply.headers, "x-ratelimit-reset", "ratelimit-reset")
    if reset is not None and reset >= _EPOCH:  # a point in time, not a distance
        reset = max(reset - _server_time(reply), 0.0) + 1.0
    return (None if remaining is None else int(remaining)), reset


def _number(headers: Mapping[str, str], *names: str) -> float | None:
    for name in names:
        try:
            return float(headers[name])
        except (KeyError, ValueError):
            continue
    return None


def _server_time(reply: Reply) -> float:
    """The source's own clock: ours may be wrong."""
    try:
        return parsedate_to_datetime(reply.headers["date"]).timestamp()
    except (KeyError, ValueError):
        return datetime.now(UTC).timestamp()
