# SPDX-License-Identifier: Apache-2.0
"""STATE that is saved in the transaction of its rows: both are there, or neither."""

import random
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

Make = Callable[..., Any]

RUN, TOKEN = "00000000-0000-4000-8000-00000000000a", "00000000-0000-4000-8000-00000000000b"
LEASE = {"state_in_transaction": True, "run_id": RUN, "lease_token": TOKEN}
SMALL = {"batch_size_rows": 10, "flush_seconds": 0.05}

OTHERS = """
    select count(*) from pg_stat_activity where application_name = 'target-bronze-postgres'
"""

CONTROL_PLANE = """
    create schema connectors;
    create table connectors.kept (run_id uuid primary key, token uuid, state jsonb, saves int);
    create function connectors.save_connector_state(
        run uuid, lease uuid, new jsonb, force boolean default false, version bigint default null
    ) returns bigint language plpgsql as $$
    begin
        if new ? 'backwards' then
            raise sqlstate 'PT422'
                using message = 'Bookmark of stream ''things'' would be set back.';
        end if;
        update connectors.kept set state = new, saves = saves + 1
        where run_id = run and token = lease;
        if not found then
            raise sqlstate 'PT410' using message = format('The lease on run %s is lost.', run);
        end if;
        return 1;
    end $$;
"""


@pytest.fixture
def plane(bronze: Any) -> Iterator[Any]:
    """A control plane of one table."""
    bronze.connection.execute(CONTROL_PLANE)
    values = (RUN, TOKEN)
    bronze.connection.execute("insert into connectors.kept values (%s, %s, '{}', 0)", values)
    return bronze


def reached(number: int, **more: Any) -> dict[str, Any]:
    return {"type": "STATE", "value": {"bookmarks": {"things": {"n": number}}, **more}}


def saved(plane: Any) -> int:
    return plane.value(
        "select coalesce((state #>> '{bookmarks,things,n}')::int, 0) from connectors.kept"
    )


def landed(plane: Any) -> int:
    if plane.value("select to_regclass('ipai_bronze_core.raw_singer_things')") is None:
        return 0
    return plane.value("select count(*) from ipai_bronze_core.raw_singer_things")


def wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_rows_and_state_come_together(
    plane: Any, run_target: Make, schema: Make, record: Make
) -> None:
    lines = [schema(), *(record(id=n) for n in range(5)), reached(5)]

    done = run_target(lines, **LEASE)

    assert (done.exit_code, done.states) == (0, [reached(5)["value"]])
    assert (landed(plane), saved(plane)) == (5, 5)


def test_the_token_may_come_through_the_environment(
    plane: Any, run_target: Make, schema: Make, record: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IPAI_LEASE_TOKEN", TOKEN)
    monkeypatch.setenv("IPAI_RUN_ID", RUN)

    run_target([schema(), record(id=1), reached(1)], state_in_transaction=True)

    assert saved(plane) == 1


def test_state_that_says_nothing_is_not_saved(
    plane: Any, run_target: Make, schema: Make, record: Make
) -> None:
    done = run_target([schema(), record(id=1), {"type": "STATE", "value": {}}], **LEASE)

    assert done.exit_code == 0
    assert (landed(plane), plane.value("select saves from connectors.kept")) == (1, 0)


@pytest.mark.parametrize(
    ("change", "exit_code", "text"),
    [
        ({"lease_token": RUN}, 75, "The lease on run"),
        ({"backwards": True}, 1, "would be set back"),
    ],
)
def test_rows_go_back_with_a_state_that_is_refused(
    plane: Any, run_target: Make, schema: Make, record: Make, change: Any, exit_code: int, text: str
) -> None:
    last = reached(20, **({"backwards": True} if "backwards" in change else {}))
    config = {**LEASE, **{name: value for name, value in change.items() if name in LEASE}}

    done = run_target([schema(), record(id=1), last], **config)

    assert (done.exit_code, text in done.error, TOKEN in done.stderr) == (exit_code, True, False)
    assert (landed(plane), saved(plane), done.states) == (0, 0, [])


def test_rows_wait_in_their_transaction_for_their_state(
    plane: Any, start_target: Make, schema: Make, record: Make
) -> None:
    target = start_target(**LEASE, **SMALL)
    target.send([schema(), record(id=0), reached(1)])
    assert target.read_state() == reached(1)["value"]

    target.send([record(id=n) for n in range(1, 35)])
    waiting = "select count(*) from pg_stat_activity where state = 'idle in transaction'"
    wait_until(lambda: plane.value(waiting) > 0)
    before = (landed(plane), saved(plane))
    target.send([reached(35)])

    assert target.read_state() == reached(35)["value"]
    assert (before, landed(plane), saved(plane)) == ((1, 1), 35, 35)
    done = target.finish()
    assert (done.exit_code, done.total("inserted")) == (0, 35)


def test_a_batch_ends_at_a_state_where_it_can(
    plane: Any, run_target: Make, schema: Make, record: Make
) -> None:
    lines = [schema()]
    for number in range(1, 31):
        lines += [record(id=number), reached(number)]

    done = run_target(lines, **LEASE, batch_size_rows=10)

    assert [line["received"] for line in done.of("flushed")] == [9, 9, 9, 3]


@pytest.mark.parametrize("batch_size_rows", [4, 1000])
def test_what_no_state_covers_is_not_landed_when_the_input_breaks_off(
    plane: Any, run_target: Make, schema: Make, record: Make, batch_size_rows: int
) -> None:
    lines = [schema(), *(record(id=n) for n in range(7)), reached(7)]
    lines += [*(record(id=n) for n in range(7, 20)), record(v="no key"), "{broken"]

    done = run_target(lines, **LEASE, batch_size_rows=batch_size_rows)

    assert done.exit_code == 65
    assert (landed(plane), saved(plane), done.states) == (7, 7, [reached(7)["value"]])
    assert [reason for _, reason, _ in plane.letters()] == ["missing_key"]


def test_a_stop_keeps_to_the_last_state(
    plane: Any, start_target: Make, schema: Make, record: Make
) -> None:
    target = start_target(**LEASE, **SMALL)
    target.send([schema(), record(id=0), reached(1)])
    target.read_state()
    target.send([record(id=n) for n in range(1, 35)])
    waiting = "select count(*) from pg_stat_activity where state = 'idle in transaction'"
    wait_until(lambda: plane.value(waiting) > 0)

    target.process.send_signal(signal.SIGTERM)
    done = target.finish()

    assert (done.exit_code, landed(plane), saved(plane)) == (143, 1, 1)


def test_the_clean_end_of_the_input_needs_no_last_state(
    plane: Any, run_target: Make, schema: Make, record: Make
) -> None:
    lines = [schema(), *(record(id=n) for n in range(10)), reached(10)]
    lines += [record(id=n) for n in range(10, 40)]

    done = run_target(lines, **LEASE, batch_size_rows=10)

    assert (done.exit_code, landed(plane), saved(plane)) == (0, 40, 10)


def test_a_lost_connection_takes_the_waiting_rows_with_it(
    plane: Any, start_target: Make, schema: Make, record: Make
) -> None:
    target = start_target(**LEASE, **SMALL)
    target.send([schema(), record(id=0), reached(1)])
    target.read_state()
    target.send([record(id=n) for n in range(1, 35)])
    # Idle for a while: not between two of the batches that are sent.
    waiting = """
        select pg_terminate_backend(pid, 10000) from pg_stat_activity
        where state = 'idle in transaction' and state_change < now() - interval '0.5 s'
    """
    wait_until(lambda: bool(plane.query(waiting)))

    target.send([record(id=35), reached(36)])
    done = target.finish()

    assert (done.exit_code, landed(plane), saved(plane)) == (75, 1, 1)
    assert "waited for their STATE" in done.error


def test_an_unstorable_record_leaves_the_waiting_rows_alone(
    plane: Any, run_target: Make, schema: Make, record: Make
) -> None:
    bad = '{"type":"RECORD","stream":"things","record":{"id":99,"v":1e999999}}'
    lines = [schema(), *(record(id=n) for n in range(25)), bad, reached(26)]

    done = run_target(lines, **LEASE, batch_size_rows=10)

    assert (done.exit_code, landed(plane), saved(plane)) == (0, 25, 26)
    assert [stream for stream, _, _ in plane.letters()] == ["things"]


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"state_in_transaction": True}, "needs a run and the token"),
        ({**LEASE, "lease_token": "secret words"}, "is no UUID"),
        (LEASE, "STATE cannot be saved here"),
    ],
)
def test_what_it_needs_is_asked_before_anything_is_read(
    run_target: Make, schema: Make, config: Any, text: str
) -> None:
    done = run_target([schema()], **config)

    assert (done.exit_code, text in done.error) == (78, True)
    assert "secret words" not in done.stderr


class Source:
    """Numbers without end, from the saved STATE on, with a STATE at random distances."""

    def __init__(self, dice: random.Random, schema: Make, record: Make) -> None:
        self._dice, self._schema, self._record = dice, schema, record

    def lines(self, start: int, count: int) -> list[Any]:
        found = [self._schema()]
        due = self._dice.randrange(1, 40)
        for number in range(start + 1, start + count + 1):
            found.append(self._record(id=number))
            due -= 1
            if due == 0:
                found.append(reached(number))
                due = self._dice.randrange(1, 40)
        return [*found, reached(start + count)]


@pytest.mark.slow
@pytest.mark.parametrize("load_method", ["append", "upsert"])
def test_wherever_the_target_is_killed_rows_and_state_agree(
    plane: Any, start_target: Make, schema: Make, record: Make, load_method: str
) -> None:
    dice = random.Random(20261121)
    source = Source(dice, schema, record)
    seen = []

    for _ in range(12):
        target = start_target(**LEASE, load_method=load_method, batch_size_rows=25)
        target.send(source.lines(saved(plane), 2000))
        for _ in range(dice.randrange(40)):
            target.read_state()
        time.sleep(dice.random() * 0.02)
        target.process.kill()
        target.process.wait()
        wait_until(lambda: plane.value(OTHERS) == 0)
        assert landed(plane) == saved(plane)
        seen.append(saved(plane))

    target = start_target(**LEASE, load_method=load_method)
    target.send(source.lines(saved(plane), 100))
    assert target.finish().exit_code == 0
    rows = plane.query("select record_key from ipai_bronze_core.raw_singer_things")
    assert len(rows) == len(set(rows)) == saved(plane)
    assert len(set(seen)) > 8
