# SPDX-License-Identifier: Apache-2.0
"""The limiter: rate, concurrency, budgets and pauses hold for all threads together."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipai_kit.exceptions import StoppedError, TryAgainLaterError
from ipai_kit.quota import Limits, Quota
from ipai_kit.rest.client import Client
from ipai_kit.rest.transport import Transport
from ipai_kit.testing.loopback import Answer
from ipai_kit.waiting import Waiting


class SteppedClock(Waiting):
    """Time moves only by waiting."""

    def __init__(self):
        super().__init__()
        self.time = 1000.0

    def sleep(self, seconds):
        assert seconds > 0
        self.time += seconds

    def monotonic(self):
        return self.time

    def now(self):
        return self.time


@settings(max_examples=60, deadline=None)
@given(
    rate=st.floats(0.2, 20),
    durations=st.lists(st.floats(0, 3), min_size=1, max_size=60),
)
def test_no_second_holds_more_arrivals_than_the_rate(rate, durations):
    clock = SteppedClock()
    quota = Quota(Limits(requests_per_second=rate), clock)
    spans = []  # from when until when a request can have reached the server
    for duration in durations:
        with quota.slot():
            start = clock.time
            clock.time += duration
        spans.append((start, min(clock.time, start + 0.5)))

    allowed = max(int(rate), 1)
    for (_, latest), (earliest, _) in zip(spans, spans[allowed:], strict=False):
        assert earliest >= latest + 1 - 1e-6


def test_the_rate_holds_at_the_server_with_many_threads(loopback, call):
    server = loopback(lambda asked: Answer([], delay=0.03))
    quota = Quota(Limits(requests_per_second=20, concurrency=16))
    transport = Transport([server.url], connections=16)
    client = Client(transport, quota)
    with ThreadPoolExecutor(24) as pool:
        futures = [
            pool.submit(client.fetch, call(server.url + "/x"), lambda reply, _: reply.status)
            for _ in range(50)
        ]

        assert [future.result() for future in futures] == [200] * 50
    assert server.peak_rate() <= 20
    assert server.asked[-1].at - server.asked[0].at < 15  # and it is used


def test_never_more_requests_at_once_than_the_limit():
    quota = Quota(Limits(requests_per_second=1000, concurrency=3))
    running, peak, lock = 0, 0, threading.Lock()

    def work(_):
        nonlocal running, peak
        with quota.slot():
            with lock:
                running += 1
                peak = max(peak, running)
            time.sleep(0.005)
            with lock:
                running -= 1

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(work, range(40)))

    assert peak == 3


def test_waits_when_nothing_remains():
    clock = SteppedClock()
    quota = Quota(Limits(), clock)
    quota.observe(0, 30.0, "default")

    with quota.slot():
        pass

    assert clock.time == pytest.approx(1030, abs=0.1)


def test_a_spent_bucket_does_not_hold_up_another():
    clock = SteppedClock()
    quota = Quota(Limits(), clock)
    quota.observe(0, 30.0, "search")

    with quota.slot("default"):
        pass

    assert clock.time == pytest.approx(1000, abs=0.1)


def test_a_pause_holds_up_every_bucket():
    clock = SteppedClock()
    quota = Quota(Limits(), clock)
    quota.pause(5)

    with quota.slot("search"):
        pass

    assert clock.time == pytest.approx(1005, abs=0.1)


def test_a_wait_beyond_the_budget_says_when_to_come_back():
    clock = SteppedClock()
    quota = Quota(Limits(max_wait_seconds=60), clock)
    quota.observe(0, 3600.0, "default")

    with pytest.raises(TryAgainLaterError) as caught, quota.slot():
        pass
    assert caught.value.retry_at.timestamp() == pytest.approx(1000 + 3600, abs=2)


def test_the_run_ends_when_its_requests_are_used_up():
    quota = Quota(Limits(requests_per_second=1000, requests_per_run=2))
    for _ in range(2):
        with quota.slot():
            pass

    with pytest.raises(TryAgainLaterError, match="budget of 2 requests"), quota.slot():
        pass


def test_an_outside_share_lowers_rate_and_total_but_never_raises_them():
    quota = Quota(Limits(requests_per_second=10, requests_per_run=100))
    quota.lower(share=0.5, requests_per_run=80)
    quota.lower(share=0.9, requests_per_run=90)

    assert quota.limits.window() == (5, 1.0)
    assert quota.limits.total() == 40


def test_replies_that_overtake_each_other_do_not_raise_what_remains():
    quota = Quota(Limits())
    quota.observe(10, 30.0, "default")
    quota.observe(12, 30.0, "default")

    assert quota.remaining() == 10


def test_what_remains_rises_when_the_window_starts_anew():
    quota = Quota(Limits(), SteppedClock())
    quota.observe(1, 30.0, "default")
    with quota.slot():
        pass
    quota.observe(5000, 3600.0, "default")

    assert quota.remaining() == 5000


def test_the_end_of_a_window_is_known_until_it_has_come():
    clock = SteppedClock()
    quota = Quota(Limits(), clock)
    assert quota.resets_in() is None
    quota.observe(10, 30.0, "default")
    clock.sleep(12.0)
    assert quota.resets_in() == 18.0
    assert quota.resets_in("search") is None
    clock.sleep(18.0)
    assert quota.resets_in() is None


def test_a_stop_ends_every_wait():
    waiting = Waiting()
    quota = Quota(Limits(concurrency=1), waiting)
    quota.pause(30)
    threading.Timer(0.05, waiting.interrupt, (15,)).start()
    before = time.monotonic()

    with pytest.raises(StoppedError) as caught, quota.slot():
        pass
    assert caught.value.exit_code == 143
    assert time.monotonic() - before < 2


def test_a_stop_ends_the_wait_for_a_place():
    waiting = Waiting()
    quota = Quota(Limits(concurrency=1), waiting)
    with quota.slot():
        waiting.interrupt(2)

        with pytest.raises(StoppedError), quota.slot():
            pass
