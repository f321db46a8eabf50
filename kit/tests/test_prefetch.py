# SPDX-License-Identifier: Apache-2.0
"""The engine that fetches ahead: bounds, order, what happens when something fails."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import pytest

from ipai_kit.exceptions import (
    CredentialsError,
    InternalError,
    StoppedError,
    StreamUnavailableError,
)
from ipai_kit.rest import Reply
from ipai_kit.rest.prefetch import Fetcher, ParallelFetcher
from ipai_kit.waiting import Waiting


@dataclass
class Result:
    value: object = None
    size: int = 1


@pytest.fixture
def fetcher():
    made = []

    def make(threads=4, **bounds):
        made.append(ParallelFetcher(threads, **bounds))
        return made[-1]

    yield make
    for one in made:
        one.close()


def settle(condition, seconds=3.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    return condition()


@pytest.mark.parametrize("kind", ["serial", "parallel"])
def test_results_are_taken_in_order_whatever_finishes_first(fetcher, kind):
    fetch = Fetcher() if kind == "serial" else fetcher()

    def job(n):
        return lambda: (time.sleep(0.02 if n % 2 == 0 else 0), Result(n))[1]

    tickets = [fetch.submit((n,), job(n)) for n in range(10)]

    assert [fetch.take(one).value for one in tickets] == list(range(10))
    fetch.close()


def test_no_more_results_lie_ready_than_the_bound(fetcher):
    fetch, ran = fetcher(threads=4, max_results=3), []
    tickets = [fetch.submit((n,), lambda n=n: (ran.append(n), Result(n))[1]) for n in range(20)]
    settle(lambda: len(ran) >= 3)
    time.sleep(0.05)

    assert len(ran) == 3
    assert [fetch.take(one).value for one in tickets] == list(range(20))


def test_no_more_bytes_lie_ready_than_the_bound(fetcher):
    fetch, ran = fetcher(threads=1, max_bytes=250), []
    tickets = [
        fetch.submit((n,), lambda n=n: (ran.append(n), Result(n, 100))[1]) for n in range(10)
    ]
    settle(lambda: len(ran) >= 3)
    time.sleep(0.05)

    assert len(ran) == 3
    assert [fetch.take(one).value for one in tickets] == list(range(10))


def test_what_is_waited_for_is_not_held_up_by_a_full_buffer(fetcher):
    fetch = fetcher(threads=1, max_results=1)
    later = fetch.submit((5,), lambda: Result("later"))
    settle(lambda: later.result is not None)
    now = fetch.submit((1,), lambda: Result("now"))

    assert fetch.take(now).value == "now"
    assert fetch.take(later).value == "later"


def test_what_is_waited_for_is_not_held_up_by_busy_threads(fetcher):
    fetch, free = fetcher(threads=1), threading.Event()
    later = fetch.submit((5,), lambda: (free.wait(5), Result("later"))[1])
    settle(lambda: later.state.name == "RUNNING")
    now = fetch.submit((1,), lambda: Result("now"))

    assert fetch.take(now).value == "now"
    free.set()
    assert fetch.take(later).value == "later"


def test_the_smallest_key_is_begun_first(fetcher):
    fetch, free, ran = fetcher(threads=1), threading.Event(), []
    gate = fetch.submit((0,), lambda: (free.wait(5), Result())[1])
    settle(lambda: gate.state.name == "RUNNING")
    tickets = {n: fetch.submit((n,), lambda n=n: (ran.append(n), Result(n))[1]) for n in (3, 1, 2)}
    free.set()
    settle(lambda: len(ran) == 3)

    assert ran == [1, 2, 3]
    assert [fetch.take(one).value for _, one in sorted({0: gate, **tickets}.items())] == [
        None,
        1,
        2,
        3,
    ]


def test_what_was_skipped_makes_room(fetcher):
    fetch = fetcher(threads=2, max_results=2)
    skipped = [fetch.submit((1, n), lambda: Result("skipped")) for n in range(5)]
    settle(lambda: all(one.result for one in skipped[:2]))
    ran = []
    wanted = [fetch.submit((2, n), lambda n=n: (ran.append(n), Result(n))[1]) for n in range(3)]

    assert fetch.take(wanted[0]).value == 0
    assert settle(lambda: sorted(ran) == [0, 1, 2])
    assert [fetch.take(one).value for one in wanted[1:]] == [1, 2]


def test_an_error_is_raised_where_it_is_taken(fetcher):
    fetch = fetcher()

    def fail():
        raise InternalError("broken")

    first, second = fetch.submit((1,), lambda: Result(1)), fetch.submit((2,), fail)

    assert fetch.take(first).value == 1
    with pytest.raises(InternalError, match="broken"):
        fetch.take(second)


def test_nothing_is_begun_behind_what_ends_the_run(fetcher):
    fetch, ran = fetcher(threads=1), []

    def fail():
        raise CredentialsError("broken")

    end = fetch.submit((1,), fail)
    settle(lambda: end.error is not None)
    fetch.submit((2,), lambda: (ran.append(2), Result())[1])
    before = fetch.submit((0,), lambda: (ran.append(0), Result("before"))[1])

    assert fetch.take(before).value == "before"
    time.sleep(0.05)
    assert ran == [0]


def test_a_stream_that_is_left_out_does_not_end_the_run(fetcher):
    fetch = fetcher(threads=1)

    def leave_out():
        raise StreamUnavailableError

    out = fetch.submit((1,), leave_out)
    behind = fetch.submit((2,), lambda: Result("behind"))

    assert settle(lambda: behind.result is not None)
    with pytest.raises(StreamUnavailableError):
        fetch.take(out)
    assert fetch.take(behind).value == "behind"


def test_a_result_is_taken_once(fetcher):
    fetch = fetcher()
    ticket = fetch.submit((1,), lambda: Result(1))
    fetch.take(ticket)

    with pytest.raises(RuntimeError, match="taken before"):
        fetch.take(ticket)


def test_a_stop_ends_the_wait_for_a_result(fetcher):
    waiting, free = Waiting(), threading.Event()
    fetch = fetcher(threads=1, waiting=waiting)
    ticket = fetch.submit((1,), lambda: (free.wait(5), Result())[1])
    settle(lambda: ticket.state.name == "RUNNING")
    threading.Timer(0.05, waiting.interrupt, (15,)).start()

    with pytest.raises(StoppedError):
        fetch.take(ticket)
    free.set()


def test_a_stop_ends_the_wait_for_a_job_that_nobody_had_begun(fetcher):
    waiting, free = Waiting(), threading.Event()
    fetch = fetcher(threads=1, max_results=0, waiting=waiting)
    ticket = fetch.submit((1,), lambda: (free.wait(5), Result())[1])
    threading.Timer(0.05, waiting.interrupt, (15,)).start()
    before = time.monotonic()

    with pytest.raises(StoppedError):
        fetch.take(ticket)
    assert time.monotonic() - before < 2
    free.set()


def test_nothing_is_begun_after_a_halt_but_what_is_ready_is_given(fetcher):
    fetch = fetcher(threads=1, max_results=1)
    ready = fetch.submit((1,), lambda: Result("ready"))
    settle(lambda: ready.result is not None)
    late = fetch.submit((2,), lambda: Result("late"))
    fetch.halt(InternalError("spent"))

    assert fetch.take(ready).value == "ready"
    with pytest.raises(InternalError, match="spent"):
        fetch.take(late)


def test_closing_ends_the_threads(fetcher):
    fetch = fetcher(threads=3)
    fetch.submit((1,), lambda: Result())
    fetch.close()

    assert not any(thread.is_alive() for thread in fetch._threads)


def test_requests_travel_at_the_same_time(demo, run_demo):
    latency = 0.03

    def answer(call):
        time.sleep(latency)
        parts = call.url.split("/")[3:]
        body = b"[" + b",".join(b'{"id":%d}' % n for n in range(1, 25)) + b"]"
        return Reply(200, {}, body if parts == ["repos"] else b"[]", call.url)

    spent = {}
    for serial in (True, False):
        begin = time.monotonic()
        output = run_demo(
            demo.Transport(answer),
            select={"labels", "issues", "comments"},
            config={"concurrency": 16},
            serial=serial,
        )
        spent[serial] = time.monotonic() - begin

    assert output.error is None
    assert spent[True] >= 49 * latency
    assert spent[False] < spent[True] / 5
