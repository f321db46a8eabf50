# SPDX-License-Identifier: Apache-2.0
"""Due times become runs, each once: with several schedulers, after absences, on odd schedules."""

import io
import json
import signal
import threading
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from ipai_orchestrate.exceptions import ConfigurationError, NotFoundError, RefusedError
from ipai_orchestrate.journal import Journal
from ipai_orchestrate.pipeline.database import Database
from ipai_orchestrate.pipeline.stop import Stop
from ipai_orchestrate.scheduler import ScheduleBook
from ipai_orchestrate.scheduler import rounds as rounds_module
from ipai_orchestrate.scheduler.rounds import Scheduler

SUBJECT = "instance:github-acme"


class Desk:
    """A scheduler on the test's database."""

    def __init__(self, dsn, connection):
        self.dsn, self.connection = dsn, connection
        self.book = ScheduleBook(connection)
        self.journal = io.StringIO()
        self.stop = Stop()

    def scheduler(self):
        return Scheduler(Database(self.dsn), self.stop, Journal(self.journal, as_json=True))

    def round(self):
        """One scheduler makes one round and is gone."""
        self.scheduler().once()

    def away(self, interval, subject=SUBJECT):
        """Let all schedulers have been away for that long."""
        self.connection.execute(
            "update connectors.schedules set decided_until = decided_until - %s::interval"
            " where subject = %s",
            (interval, subject),
        )

    def due(self):
        """The due times that became runs."""
        return [
            key.removeprefix("schedule:")
            for (key,) in self.connection.execute(
                "select dedupe_key from connectors.connector_runs order by dedupe_key"
            )
        ]

    def said(self, event):
        lines = [json.loads(line) for line in self.journal.getvalue().splitlines()]
        return [line for line in lines if line["event"] == event]

    def schedule(self, subject=SUBJECT):
        return next(one for one in self.book.all() if one.subject == subject)


@pytest.fixture
def desk(database, connection):
    return Desk(database, connection)


@pytest.fixture
def minutely(make_instance, desk):
    """An instance that is due every minute, whose schedule has just begun."""
    make_instance(schedule="* * * * *")
    desk.round()
    return desk


def test_a_new_schedule_begins_now(minutely):
    assert [] == minutely.due()
    assert minutely.schedule().next_due > minutely.schedule().seen_at


def test_a_due_time_becomes_a_run_under_its_own_key_once(minutely):
    minutely.away("1 minute")
    minutely.round()
    minutely.round()
    (run,) = minutely.connection.execute(
        "select triggered_by, job_name, run_after, max_attempts from connectors.connector_runs"
    )
    last_due = minutely.schedule().last_due.astimezone(UTC)

    assert [f"{last_due:%Y-%m-%dT%H:%M:00Z}"] == minutely.due()
    assert ("schedule", "sync_github_all_incremental", last_due, 4) == run


@pytest.mark.parametrize(
    ("misfire", "count"),
    [("skip", 0), ("once", 1), ("catch_up", 6)],
)
def test_an_hour_without_a_scheduler_is_treated_as_the_policy_says(
    make_instance, desk, misfire, count
):
    # Due an hour ago and every ten minutes since, but not within the last two minutes.
    now = desk.connection.execute("select clock_timestamp()").fetchone()[0]
    minute = (now - timedelta(minutes=5)).minute % 10
    make_instance(schedule=f"{minute}-59/10 * * * *")
    desk.round()
    desk.book.change(SUBJECT, misfire=misfire)
    desk.away("1 hour")
    desk.round()

    assert count == len(desk.due())


def test_only_the_newest_are_made_good_when_there_are_too_many(minutely):
    minutely.book.change(SUBJECT, misfire="catch_up", catch_up_max=3)
    minutely.away("1 hour")
    minutely.round()
    last = minutely.schedule().last_due

    assert 3 == len(minutely.due())
    assert f"{last.astimezone(UTC) - timedelta(minutes=2):%Y-%m-%dT%H:%M:00Z}" == minutely.due()[0]


def test_a_run_that_has_not_begun_does_the_work_of_the_next_due_time_too(minutely):
    minutely.away("1 minute")
    minutely.round()
    minutely.away("10 seconds")
    minutely.connection.execute(
        "update connectors.schedules set decided_until = date_trunc('minute', clock_timestamp())"
        " - interval '1 second'"
    )
    minutely.connection.execute(
        "update connectors.connector_runs set dedupe_key = 'schedule:earlier'"
    )
    minutely.round()

    assert ["earlier"] == minutely.due()


def test_a_changed_schedule_begins_now(make_instance, minutely):
    minutely.away("1 hour")
    make_instance(schedule="*/2 * * * *")
    minutely.round()

    assert [] == minutely.due()


@pytest.mark.parametrize(
    ("how", "is_watched"),
    [
        ("schedule", True),
        ("instance", True),
        ("disabled version", True),
        ("schedule", False),
        ("instance", False),
    ],
)
def test_what_is_due_during_a_pause_is_never_made_good(minutely, control_plane, how, is_watched):
    def pause(paused):
        if how == "schedule":
            minutely.book.change(SUBJECT, paused=paused)
        elif how == "instance":
            control_plane.set_instance_status("github-acme", "paused" if paused else "active")
        else:
            minutely.connection.execute(
                "update connectors.connector_definitions set enabled = %s", [not paused]
            )

    pause(True)
    minutely.away("1 hour")
    if is_watched:
        minutely.round()
    pause(False)
    minutely.round()

    assert [] == minutely.due()


def test_the_word_default_means_the_schedule_of_the_spec(make_instance, desk):
    make_instance(schedule="default")
    desk.connection.execute(
        "alter table connectors.connector_definitions disable trigger connector_definitions_change;"
        "update connectors.connector_definitions set spec = spec ||"
        ' \'{"schedule": "7 3 * * *", "timezone": "Asia/Manila"}\''
    )
    found = desk.schedule()

    assert ("7 3 * * *", "Asia/Manila") == (found.expression, found.timezone)


def test_a_schedule_that_cannot_be_read_is_told_once_and_stops_no_other(make_instance, desk):
    make_instance("good", schedule="* * * * *")
    make_instance("odd", schedule="6 * * * *")
    desk.connection.execute(  # as an older version may have stored it
        "alter table connectors.connector_instances disable trigger connector_instances_schedule;"
        "update connectors.connector_instances set schedule = '61 * * * *' where id = 'odd';"
        "alter table connectors.connector_instances enable trigger connector_instances_schedule"
    )
    desk.round()
    desk.away("1 minute", "instance:good")
    desk.round()

    assert 1 == len(desk.due())
    assert ["instance:odd"] == [line["subject"] for line in desk.said("schedule_refused")]
    assert "Field minute" in desk.schedule("instance:odd").problem
    make_instance("odd", schedule="6 * * * *")
    desk.round()
    assert desk.schedule("instance:odd").problem is None


def test_a_run_that_cannot_be_queued_is_told_and_stops_no_other(make_instance, desk):
    make_instance("a-odd", "odd", schedule="* * * * *")
    make_instance("good", schedule="* * * * *")
    desk.connection.execute(
        "alter table connectors.connector_definitions disable trigger connector_definitions_change;"
        'update connectors.connector_definitions set spec = spec || \'{"sync_mode": "none"}\''
        " where type = 'odd'"
    )
    desk.round()
    desk.away("1 minute", "instance:a-odd")
    desk.away("1 minute", "instance:good")
    desk.round()

    assert 1 == len(desk.due())
    assert "Mode 'none' is unknown" in desk.schedule("instance:a-odd").problem


def test_what_the_database_refuses_is_told_and_stops_no_other(make_instance, desk, monkeypatch):
    make_instance("a-odd", schedule="* * * * *")
    make_instance("good", schedule="* * * * *")
    real = ScheduleBook.decide

    def decide(book, schedule, due, coming):
        if schedule.subject == "instance:a-odd":
            raise RefusedError("No.")
        return real(book, schedule, due, coming)

    monkeypatch.setattr(ScheduleBook, "decide", decide)
    desk.round()

    assert "No." == desk.schedule("instance:a-odd").problem
    assert desk.schedule("instance:good").next_due


def test_the_jitter_spreads_runs_after_their_due_time(make_instance, desk):
    for number in range(12):
        make_instance(f"github-{number}", schedule="* * * * *")
    desk.round()
    for number in range(12):
        desk.book.change(f"instance:github-{number}", jitter_seconds=600)
        desk.away("1 minute", f"instance:github-{number}")
    desk.round()
    waits = {
        run_after - last_due
        for run_after, last_due in desk.connection.execute(
            "select r.run_after, s.last_due from connectors.connector_runs as r"
            " join connectors.schedules as s on s.subject = 'instance:' || r.instance_id"
        )
    }

    assert len(waits) > 6
    assert timedelta(0) <= min(waits) <= max(waits) <= timedelta(seconds=600)


def test_several_schedulers_at_once_never_double(make_instance, desk):
    names = [f"github-{number}" for number in range(10)]
    for name in names:
        make_instance(name, schedule="* * * * *")
    desk.round()
    for name in names:
        desk.book.change(f"instance:{name}", misfire="catch_up")
        desk.away("5 minutes", f"instance:{name}")
    barrier = threading.Barrier(6)

    def one():
        barrier.wait()
        desk.round()
        desk.round()

    threads = [threading.Thread(target=one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = desk.connection.execute(
        "select count(*), count(distinct dedupe_key) from connectors.connector_runs"
        " group by instance_id"
    ).fetchall()

    assert len(names) == len(counts)
    assert all(5 <= runs == keys <= 6 for runs, keys in counts)


def test_a_scheduler_that_was_first_leaves_nothing_to_the_second(minutely):
    minutely.away("1 minute")
    seen = minutely.schedule()
    due = [seen.seen_at.replace(second=0, microsecond=0)]
    first = minutely.book.decide(seen, due, due[0])
    second = minutely.book.decide(seen, due, due[0])

    assert (1, 0) == (len(first), len(second))


@pytest.mark.parametrize(
    ("shift", "words"),
    [
        (timedelta(hours=1), "not past"),
        (timedelta(0), "outside the time that is decided"),
    ],
)
def test_the_future_and_the_far_past_are_not_decided(minutely, shift, words):
    seen = minutely.schedule()
    with pytest.raises(RefusedError, match=words):
        minutely.connection.execute("select 1")
        minutely.book.decide(
            type(seen)(**{**vars(seen), "seen_at": seen.seen_at + shift}),
            [seen.decided_until],
            seen.seen_at,
        )


@pytest.mark.parametrize(
    ("subject", "settings", "error"),
    [
        (SUBJECT, {"misfire": "sometimes"}, RefusedError),
        (SUBJECT, {"catch_up_max": 0}, RefusedError),
        (SUBJECT, {"jitter_seconds": -1}, RefusedError),
        ("instance:nobody", {"paused": True}, NotFoundError),
    ],
)
def test_an_impossible_way_to_follow_a_schedule_is_refused(minutely, subject, settings, error):
    with pytest.raises(error):
        minutely.book.change(subject, **settings)


def test_a_run_whose_worker_is_lost_is_given_up_by_the_round(minutely, control_plane):
    run = control_plane.claim(control_plane.enqueue("github-acme"), "dead")
    minutely.connection.execute(
        "update connectors.connector_runs set lease_until = now() - interval '1 second'"
    )
    minutely.round()

    assert "worker_lost" == control_plane.run_status(run.id).error_class
    assert [str(run.id)] == [line["run_id"] for line in minutely.said("run_lost")]


def test_a_scheduler_works_until_it_is_told_to_end_whatever_the_database_does(
    minutely, monkeypatch
):
    monkeypatch.setattr(rounds_module, "ROUND_SECONDS", 0.1)
    monkeypatch.setattr(rounds_module, "LONGEST_PAUSE_SECONDS", 0.1)
    scheduler = minutely.scheduler()
    real, troubles = scheduler.round, [psycopg.OperationalError("gone")]

    def round_with_trouble():
        if troubles:
            raise troubles.pop()
        found = real()
        if minutely.due():
            minutely.stop.request(signal.SIGTERM)
        return found

    monkeypatch.setattr(scheduler, "round", round_with_trouble)
    minutely.away("1 minute")
    scheduler.work()

    assert [1, 1] == [len(minutely.said("round_failed")), len(minutely.due())]
    assert 1 == len(minutely.said("scheduler_ended"))


def test_a_database_without_a_control_plane_ends_the_scheduler(desk, empty_database):
    desk.dsn = empty_database
    with pytest.raises(ConfigurationError, match="ipai db migrate"):
        desk.scheduler().work()


def test_a_login_of_an_operator_is_enough_for_a_scheduler(minutely, server, connection):
    minutely.away("1 minute")
    old = "run_logs_" + (datetime.now(UTC) - timedelta(days=200)).strftime("%Y%m%d")
    connection.execute("select connectors.create_log_partition(current_date - 200)")
    connection.execute("drop role if exists scheduler_h")
    connection.execute("create role scheduler_h login in role ipai_operator")
    try:
        minutely.dsn = server.dsn_of(connection.info.dbname, "scheduler_h")
        minutely.round()

        (kept,) = connection.execute("select to_regclass(%s)", [f"connectors.{old}"]).fetchone()

        assert (1, None) == (len(minutely.due()), kept)
    finally:
        connection.execute("drop role scheduler_h")


def test_what_has_waited_for_half_of_its_tiers_latency_goes_with_the_first(
    make_instance, desk, control_plane
):
    tiers = {"old": "best_effort", "new": "best_effort", "urgent": "critical"}
    for name, tier in tiers.items():
        make_instance(name, f"source_{name}", {"sla_tier": tier})
    waited = {"old": 13, "new": 11, "urgent": 0}
    for name, hours in waited.items():
        due = datetime.now(UTC) - timedelta(hours=hours)
        control_plane.enqueue(name, run_after=due)
    desk.round()
    order = [control_plane.claim(None, "worker").instance_id for _ in tiers]

    assert ["old", "urgent", "new"] == order
    assert [1] == [line["runs"] for line in desk.said("runs_raised")]


def test_a_long_queue_is_raised_in_parts_the_oldest_first(make_instance, connection):
    make_instance("old", "source_old", {"sla_tier": "standard"})
    connection.execute(
        "select connectors.enqueue_connector_job('old',"
        " run_after => now() - interval '1 day' + n * interval '1 minute')"
        " from generate_series(1, 501) as n"
    )
    newest = "select priority from connectors.connector_runs order by run_after desc limit 1"
    raised = "select connectors.raise_waiting_runs()"

    for many, priority in ((500, 0), (1, 10), (0, 10)):
        assert (many,) == connection.execute(raised).fetchone()
        assert (priority,) == connection.execute(newest).fetchone()
