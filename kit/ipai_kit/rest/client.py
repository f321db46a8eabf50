# SPDX-License-Identifier: Apache-2.0
"""Every request of a connector goes through here: quota, authentication, retry, typed errors."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import NoReturn, Protocol, TypeVar, runtime_checkable

import msgspec
from requests import PreparedRequest

from ipai_kit.exceptions import (
    ConfigurationError,
    ConnectorError,
    CredentialsError,
    InternalError,
    StreamUnavailableError,
    TryAgainLaterError,
)
from ipai_kit.quota import Quota
from ipai_kit.rest.calls import Call, Reply, safe_url
from ipai_kit.rest.retry import Action, RetryPolicy, Verdict, classify_rest, quota_left
from ipai_kit.rest.transport import Transport, TransportError
from ipai_kit.waiting import Waiting

__all__ = ["Auth", "Client"]

T = TypeVar("T")
Classifier = Callable[[Reply], Verdict]
Reader = Callable[[Reply, Verdict], T]

_READABLE = {Action.OK, Action.EMPTY, Action.UNCHANGED}


class Auth(Protocol):
    """Signs requests. `renew` gets new credentials after a 401; False when there are none."""

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Add the credentials to a request."""
        ...

    def renew(self, request: PreparedRequest) -> bool:
        """Replace the credentials that this request carried."""
        ...


@runtime_checkable
class SharedBudget(Protocol):
    """Authentication by several credentials, each with a quota of its own."""

    def note(
        self, request: PreparedRequest, remaining: int | None, reset_in: float | None
    ) -> tuple[int | None, float | None]:
        """Note what one credential has left; return the same for all of them."""
        ...

    def exhausted(self, request: PreparedRequest, wait: float) -> float:
        """Note that a credential is spent; return how long until another can sign."""
        ...


class Client:
    """Makes a call until it is answered or its budget is spent; safe to share between threads."""

    def __init__(
        self,
        transport: Transport,
        quota: Quota,
        *,
        auth: Auth | None = None,
        policy: RetryPolicy | None = None,
        waiting: Waiting | None = None,
        randomness: random.Random | None = None,
        requests: Counter[str] | None = None,
    ) -> None:
        self.transport = transport
        self.quota = quota
        self._auth = auth
        self._budgets = auth if isinstance(auth, SharedBudget) else None
        self._policy = policy or RetryPolicy()
        self._waiting = waiting or Waiting()
        self._random = randomness or random.Random()  # noqa: S311 - jitter, not a secret
        self._lock = threading.Lock()
        self.retries = 0
        self.requests = Counter[str]() if requests is None else requests

    def fetch(self, call: Call, read: Reader[T], classify: Classifier = classify_rest) -> T:
        """Return what `read` makes of the reply; raise a typed error when there is none."""
        attempt = _Attempt(call)
        while True:
            verdict = self._try(attempt, classify)
            if verdict.action in _READABLE and attempt.reply is not None:
                try:
                    return read(attempt.reply, verdict)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    verdict = Verdict(Action.RETRY, "The reply is not valid JSON.")
            self._prepare_next_try(attempt, verdict)

    def _try(self, attempt: _Attempt, classify: Classifier) -> Verdict:
        attempt.reply = None
        with self._lock:
            self.requests[attempt.call.stream or ""] += 1
        try:
            with self.quota.slot(attempt.call.bucket):
                attempt.reply = self.transport.send(attempt.call, attempt.signer(self._auth))
        except TransportError as error:
            return Verdict(Action.RETRY, f"No reply came ({error}).")
        remaining, reset = quota_left(attempt.reply)
        if self._budgets and attempt.signed is not None:
            remaining, reset = self._budgets.note(attempt.signed, remaining, reset)
        self.quota.observe(remaining, reset, attempt.call.bucket)
        return classify(attempt.reply)

    def _prepare_next_try(self, attempt: _Attempt, verdict: Verdict) -> None:
        if verdict.action is Action.RETRY:
            self._back_off(attempt, verdict)
        elif verdict.action is Action.LIMITED:
            self._wait_for_quota(attempt, verdict)
        elif verdict.action is Action.RENEW and self._renew(attempt):
            attempt.renewed = True
        else:
            _give_up(attempt, verdict)

    def _back_off(self, attempt: _Attempt, verdict: Verdict) -> None:
        attempt.failures += 1
        with self._lock:
            self.retries += 1
            spent = self.retries > self._policy.retries_per_run
        if spent or attempt.failures >= self._policy.max_attempts:
            budget = "run" if spent else "request"
            next_step = f"The {budget}'s budget of tries is spent; run again later."
            verdict = replace(verdict, next_step=next_step)
            at = self._waiting.now() + self._policy.longest_wait
            raise _later(attempt, verdict, at, for_all=spent)
        wait = max(self._policy.backoff(attempt.failures, self._random), verdict.wait or 0.0)
        self._refuse_long_wait(attempt, verdict, wait, for_all=False)
        attempt.waited += wait
        self._waiting.sleep(wait)

    def _wait_for_quota(self, attempt: _Attempt, verdict: Verdict) -> None:
        attempt.limits += 1
        wait = verdict.wait
        if wait is None:
            wait = self._policy.limit_wait(attempt.limits, self._random)
        elif attempt.limits > 1:  # what the source told was too short
            wait = max(wait, self._policy.backoff(attempt.limits, self._random))
        if self._budgets and attempt.signed is not None:
            wait = self._budgets.exhausted(attempt.signed, wait)
        self._refuse_long_wait(attempt, verdict, wait, for_all=True)
        attempt.waited += wait
        self.quota.pause(wait, verdict.bucket or attempt.call.bucket)

    def _refuse_long_wait(
        self, attempt: _Attempt, verdict: Verdict, wait: float, *, for_all: bool
    ) -> None:
        if attempt.waited + wait > self._policy.max_wait_seconds:
            raise _later(attempt, verdict, self._waiting.now() + wait, for_all=for_all)

    def _renew(self, attempt: _Attempt) -> bool:
        if attempt.renewed or self._auth is None or attempt.signed is None:
            return False
        return self._auth.renew(attempt.signed)


class _Attempt:
    """The tries of one call."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.reply: Reply | None = None
        self.signed: PreparedRequest | None = None
        self.failures = 0
        self.limits = 0
        self.waited = 0.0
        self.renewed = False

    def signer(self, auth: Auth | None) -> Callable[[PreparedRequest], PreparedRequest]:
        """Return the function that signs, and remember what was sent."""

        def sign(request: PreparedRequest) -> PreparedRequest:
            self.signed = auth(request) if auth else request
            return self.signed

        return sign


_ERRORS: dict[Action, type[ConnectorError]] = {
    Action.RENEW: CredentialsError,
    Action.CREDENTIALS: CredentialsError,
    Action.CONFIGURATION: ConfigurationError,
    Action.INTERNAL: InternalError,
}


def _give_up(attempt: _Attempt, verdict: Verdict) -> NoReturn:
    status = attempt.reply.status if attempt.reply else None
    url = safe_url(attempt.reply.url if attempt.reply else attempt.call.url)
    if verdict.action is Action.SKIP:
        raise StreamUnavailableError(
            verdict.reason,
            lasting=verdict.lasting,
            stream=attempt.call.stream,
            url=url,
            status=status,
            next_step=verdict.next_step,
        )
    raise _ERRORS.get(verdict.action, InternalError)(
        verdict.reason,
        stream=attempt.call.stream,
        url=url,
        status=status,
        next_step=verdict.next_step,
    )


def _later(attempt: _Attempt, verdict: Verdict, at: float, *, for_all: bool) -> TryAgainLaterError:
    return TryAgainLaterError(
        verdict.reason,
        retry_at=datetime.fromtimestamp(at, UTC),
        for_all=for_all,
        stream=attempt.call.stream,
        url=safe_url(attempt.reply.url if attempt.reply else attempt.call.url),
        status=attempt.reply.status if attempt.reply else None,
        next_step=verdict.next_step or "Run again then.",
    )
