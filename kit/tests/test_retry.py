# SPDX-License-Identifier: Apache-2.0
"""What a reply means, how long to wait, and when to give up with which error."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime
from email.utils import format_datetime
from itertools import pairwise

import msgspec
import pytest
import requests

from ipai_kit.exceptions import (
    ConfigurationError,
    CredentialsError,
    InternalError,
    StreamUnavailableError,
    TryAgainLaterError,
)
from ipai_kit.quota import Limits, Quota
from ipai_kit.rest import Action, Verdict, classify_rest
from ipai_kit.rest.client import Client
from ipai_kit.rest.retry import RetryPolicy, quota_left, retry_after
from ipai_kit.rest.transport import Transport, TransportError
from ipai_kit.testing.loopback import Answer

NOW = int(time.time())


@pytest.mark.parametrize(
    ("status", "headers", "body", "action"),
    [
        (200, {}, b"[]", Action.OK),
        (202, {}, b"{}", Action.RETRY),
        (204, {}, b"", Action.EMPTY),
        (304, {}, b"", Action.UNCHANGED),
        (400, {}, b"", Action.INTERNAL),
        (401, {}, b"", Action.RENEW),
        (403, {}, b"forbidden", Action.SKIP),
        (
            403,
            {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(NOW + 60)},
            b"",
            Action.LIMITED,
        ),
        (403, {"retry-after": "5"}, b"", Action.LIMITED),
        (403, {}, b"You have exceeded a secondary rate limit", Action.LIMITED),
        (403, {"x-ratelimit-remaining": "11", "x-ratelimit-reset": str(NOW)}, b"", Action.SKIP),
        (404, {}, b"", Action.CONFIGURATION),
        (408, {}, b"", Action.RETRY),
        (410, {}, b"", Action.CONFIGURATION),
        (422, {}, b"", Action.INTERNAL),
        (429, {}, b"", Action.LIMITED),
        (500, {}, b"<html>", Action.RETRY),
        (501, {}, b"", Action.INTERNAL),
        (503, {"retry-after": "1"}, b"", Action.RETRY),
    ],
)
def test_a_reply_is_judged_by_status_headers_and_body(reply, status, headers, body, action):
    assert action is classify_rest(reply(body, status, headers)).action


def test_a_missing_permission_names_what_to_grant(reply):
    verdict = classify_rest(reply(b"", 403, {"X-Accepted-OAuth-Scopes": "read:org"}))

    assert "read:org" in verdict.next_step


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("7", 7.0),
        ("-3", 0.0),
        ("soon", None),
        ("", None),
        (format_datetime(datetime.fromtimestamp(NOW + 90, UTC), usegmt=True), 90.0),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(reply, header, expected):
    at = {"Date": format_datetime(datetime.fromtimestamp(NOW, UTC), usegmt=True)}

    assert expected == retry_after(reply(b"", 429, {"Retry-After": header, **at}))


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, (None, None)),
        ({"x-ratelimit-remaining": "4", "x-ratelimit-reset": "30"}, (4, 30.0)),
        ({"ratelimit-remaining": "4", "ratelimit-reset": "30"}, (4, 30.0)),
        ({"x-ratelimit-remaining": "many"}, (None, None)),
    ],
)
def test_the_quota_headers_are_read(reply, headers, expected):
    assert expected == quota_left(reply(b"", 200, headers))


def test_the_reset_is_measured_by_the_clock_of_the_source(reply):
    skewed = NOW - 7200
    headers = {
        "x-ratelimit-remaining": "0",
        "x-ratelimit-reset": str(skewed + 40),
        "Date": format_datetime(datetime.fromtimestamp(skewed, UTC), usegmt=True),
    }

    assert quota_left(reply(b"", 200, headers))[1] == pytest.approx(41, abs=1)


def test_waits_grow_and_are_jittered():
    policy, chance = RetryPolicy(first_wait=1, longest_wait=30), random.Random(1)
    waits = {n: [policy.backoff(n, chance) for _ in range(500)] for n in range(1, 9)}

    assert all(0 <= wait <= min(30, 2 ** (n - 1)) for n, some in waits.items() for wait in some)
    assert sum(waits[5]) > 4 * sum(waits[2])
    assert len(set(waits[3])) == 500


class Script:
    """A transport that plays its answers in turn; the last one stays."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.sent = []

    def send(self, call, sign=None):
        request = requests.Request(call.method, call.url).prepare()
        self.sent.append(sign(request) if sign else request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def client(demo):
    def make(*answers, limits=None, auth=None, **policy):
        waiting = demo.Waiting()
        quota = Quota(limits or Limits(requests_per_second=100000, max_wait_seconds=100), waiting)
        policy.setdefault("max_wait_seconds", 100)
        script = Script(*answers)
        made = Client(script, quota, auth=auth, policy=RetryPolicy(**policy), waiting=waiting)
        made.script, made.waiting = script, waiting
        return made

    return make


def body(reply, verdict):
    return reply.body


@pytest.mark.parametrize("trouble", ["status", "cut", "json"])
def test_passing_trouble_is_tried_again(client, call, reply, trouble):
    first = {
        "status": reply(b"<html>", 502),
        "cut": TransportError("ChunkedEncodingError"),
        "json": reply(b'[{"id":'),
    }[trouble]
    made = client(first, reply(b"[1]"))

    assert made.fetch(call(), lambda got, _: msgspec.json.decode(got.body)) == [1]
    assert made.retries == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, InternalError),
        (401, CredentialsError),
        (403, StreamUnavailableError),
        (404, ConfigurationError),
        (422, InternalError),
    ],
)
def test_a_refusal_is_never_tried_again(client, call, reply, status, error):
    made = client(reply(b"no", status, url="https://api.example.com/x?api_key=s3cr3t&page=2"))

    with pytest.raises(error) as caught:
        made.fetch(call(stream="issues"), body)
    assert len(made.script.sent) == 1
    text = str(caught.value)
    assert "issues" in text
    assert str(status) in text
    assert "page=2" in text
    assert "s3cr3t" not in text
    assert caught.value.next_step


def test_gives_up_after_the_budget_of_the_request(client, call, reply):
    made = client(reply(b"", 500), max_attempts=3)

    with pytest.raises(TryAgainLaterError, match="request's budget") as caught:
        made.fetch(call(stream="issues"), body)
    assert len(made.script.sent) == 3
    assert caught.value.retry_at is not None


def test_gives_up_after_the_budget_of_the_run(client, call, reply):
    made = client(reply(b"", 500), max_attempts=3, retries_per_run=4)
    for _ in range(2):
        with pytest.raises(TryAgainLaterError):
            made.fetch(call(), body)

    assert len(made.script.sent) == 5


def test_retry_after_is_honoured(client, call, reply):
    made = client(reply(b"", 503, {"retry-after": "17"}), reply(b"[]"))
    made.fetch(call(), body)

    assert made.waiting.waits == [17.0]


def test_a_429_pauses_every_thread(client, call, reply):
    made = client(reply(b"", 429, {"retry-after": "17"}), reply(b"[]"))
    made.fetch(call(), body)

    assert sum(made.waiting.waits) == pytest.approx(17, abs=0.1)
    assert made.retries == 0


def test_a_delay_told_in_the_body_is_honoured(client, call, reply):
    detail = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "30.5s"}
    made = client(reply({"error": {"details": [detail]}}, 429), reply(b"[]"))
    made.fetch(call(), body)

    assert sum(made.waiting.waits) == pytest.approx(30.5, abs=0.1)


def test_a_source_that_always_says_now_is_not_asked_for_ever(client, call, reply):
    made = client(reply(b"", 429, {"retry-after": "0"}))

    with pytest.raises(TryAgainLaterError):
        made.fetch(call(), body)
    assert len(made.script.sent) < 30


def test_a_limit_without_an_end_backs_off_for_a_minute(client, call, reply):
    limited = reply(b"secondary rate limit", 403)
    made = client(limited, reply(b"[]"), max_wait_seconds=100)
    made.fetch(call(), body)

    assert 60 <= sum(made.waiting.waits) <= 76


def test_a_wait_longer_than_the_budget_ends_the_run(client, call, reply):
    headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "3000"}
    made = client(reply(b"", 403, headers))

    with pytest.raises(TryAgainLaterError) as caught:
        made.fetch(call(stream="issues"), body)
    assert caught.value.retry_at.timestamp() == pytest.approx(time.time() + 3000, abs=10)
    assert caught.value.exit_code == 75


class Renewable:
    def __init__(self, renewable=True):
        self.number, self.renewable = 1, renewable

    def __call__(self, request):
        request.headers["Authorization"] = f"Bearer {self.number}"
        return request

    def renew(self, request):
        self.number += 1
        return self.renewable


def test_a_401_renews_the_token_once(client, call, reply):
    made = client(reply(b"", 401), reply(b"[]"), auth=Renewable())
    made.fetch(call(), body)

    assert [one.headers["Authorization"] for one in made.script.sent] == ["Bearer 1", "Bearer 2"]


@pytest.mark.parametrize("renewable", [True, False])
def test_a_second_401_is_final(client, call, reply, renewable):
    made = client(reply(b"", 401), auth=Renewable(renewable))

    with pytest.raises(CredentialsError):
        made.fetch(call(), body)
    assert len(made.script.sent) == (2 if renewable else 1)


def test_a_tap_may_judge_by_its_own_rules(client, call, reply):
    made = client(reply(b"{}", 200))

    with pytest.raises(CredentialsError, match="Wrong"):
        made.fetch(call(), body, lambda _: Verdict(Action.CREDENTIALS, "Wrong."))


def test_measured_call_times_grow_with_jitter(loopback, call):
    server = loopback(lambda asked: Answer(b"", status=500))
    quota = Quota(Limits(requests_per_second=100))
    policy = RetryPolicy(max_attempts=5, first_wait=0.08)
    client = Client(Transport([server.url]), quota, policy=policy, randomness=random.Random(3))
    with pytest.raises(TryAgainLaterError):
        client.fetch(call(server.url + "/x"), body)

    times = [one.at for one in server.asked]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert len(gaps) == 4
    assert all(gap <= 0.08 * 2**n + 0.4 for n, gap in enumerate(gaps))
    assert len({round(gap, 3) for gap in gaps}) > 1
