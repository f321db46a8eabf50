# SPDX-License-Identifier: Apache-2.0
"""The rounds of a scheduler: what is due becomes runs, what lost its worker is given up.

Only the database's clock counts, and the database decides which of several schedulers was first:
one may be killed at any moment, and any number may be at work.
"""

import os
import random
import socket
import time
from contextlib import suppress
from datetime import timedelta

import psycopg

from ipai_orchestrate.control_plane import ControlPlane
from ipai_orchestrate.exceptions import (
    ConfigurationError,
    ControlPlaneError,
    OrchestrateError,
)
from ipai_orchestrate.journal import Journal
from ipai_orchestrate.monitor import AlertBook
from ipai_orchestrate.pipeline.database import Connection, Database
from ipai_orchestrate.pipeline.stop import Stop
from ipai_orchestrate.pipelines.register import PipelineRegister
from ipai_orchestrate.scheduler.misfire import due_times
from ipai_orchestrate.scheduler.occurrences import Rule
from ipai_orchestrate.scheduler.schedules import Schedule, ScheduleBook
from ipai_orchestrate.services import LifeSign

ROUND_SECONDS = 10.0
LONGEST_PAUSE_SECONDS = 60.0
SLICE_SECONDS = 0.5
HOUSEKEEPING_SECONDS = 3600.0


class Scheduler:
    """One scheduler; `work` returns when it is told to end."""

    def __init__(self, database: Database, stop: Stop, journal: Journal) -> None:
        self._database = database
        self._stop = stop
        self._journal = journal
        self._connection: Connection | None = None
        self._failures = 0
        self._house_due = 0.0
        self._life = LifeSign(f"{socket.gethostname()}:{os.getpid()}", "scheduler")

    def work(self) -> None:
        """Make rounds until told to end."""
        self._journal.say("scheduler_started")
        try:
            while not self._stop.signum:
                self._sleep(self._round_or_wait())
            self._say_good_bye()
        finally:
            self._disconnect()
        self._journal.say("scheduler_ended")

    def once(self) -> None:
        """Make one round; what stops it is the caller's to know."""
        try:
            self.round()
        finally:
            self._disconnect()

    def round(self) -> float:
        """Decide everything that is due; return the seconds until the next due time."""
        if self._connection is None or self._connection.closed:
            self._connection = self._database.connect()
        plane, book = ControlPlane(self._connection), ScheduleBook(self._connection)
        self._life.give(self._connection)
        for lost in plane.reap():
            self._journal.say("run_lost", "warning", run_id=lost.run_id, retried_as=lost.retry_id)
        for ended in PipelineRegister(self._connection).advance():
            self._journal.say("pipeline_ended", **vars(ended))
        pause = min((self._follow(book, one) for one in book.all()), default=ROUND_SECONDS)
        if raised := book.raise_waiting():
            self._journal.say("runs_raised", runs=raised)
        self._look_what_is_wrong(AlertBook(self._connection))
        self._keep_house(book)
        return pause

    def _look_what_is_wrong(self, alerts: AlertBook) -> None:
        """Open and resolve alerts; that must not stop the schedules."""
        try:
            for one in alerts.check():
                self._journal.say(f"alert_{one.change}", "warning", **vars(one))
        except (ConfigurationError, ControlPlaneError) as error:
            self._journal.say("alerts_unchecked", "error", error=str(error))

    def _keep_house(self, book: ScheduleBook) -> None:
        """Drop old logs every hour; a refusal must not stop the schedules."""
        if time.monotonic() < self._house_due:
            return
        self._house_due = time.monotonic() + HOUSEKEEPING_SECONDS
        try:
            for one in book.drop_old_records():
                self._journal.say("old_records_dropped", **vars(one))
        except (ConfigurationError, ControlPlaneError) as error:
            self._journal.say("old_records_kept", "error", error=str(error))

    def _follow(self, book: ScheduleBook, schedule: Schedule) -> float:
        """Decide one schedule; a broken one must not stop the others."""
        try:
            rule = Rule.parse(schedule.expression, schedule.timezone)
            return self._decide(book, schedule, rule)
        except (ConfigurationError, ControlPlaneError) as error:
            if book.report_problem(schedule, str(error)):
                subject = schedule.subject
                self._journal.say("schedule_refused", "error", subject=subject, error=str(error))
            return ROUND_SECONDS

    def _decide(self, book: ScheduleBook, schedule: Schedule, rule: Rule) -> float:
        coming = rule.next_after(schedule.seen_at)
        since = schedule.decided_until
        if since is None or schedule.decided_for != schedule.identity:
            book.decide(schedule, [], coming)  # new or changed: it begins now
        elif next(rule.newest_first(since, schedule.seen_at), None):
            due = due_times(rule, schedule, since) if schedule.runs else []
            for started in book.decide(schedule, due, coming):
                due_at = started.due_at.isoformat()
                subject = schedule.subject
                self._journal.say("run_queued", subject=subject, run_id=started.run_id, due=due_at)
        return (coming - schedule.seen_at) / timedelta(seconds=1)

    def _round_or_wait(self) -> float:
        try:
            pause = min(self.round(), ROUND_SECONDS)
            self._failures = 0
        except ConfigurationError:
            raise
        except (psycopg.OperationalError, OrchestrateError) as error:
            self._failures += 1
            self._disconnect()
            self._journal.say("round_failed", "warning", error=str(error))
            longest = min(2.0**self._failures, LONGEST_PAUSE_SECONDS)
            pause = longest * random.uniform(0.5, 1)  # noqa: S311
        return pause

    def _say_good_bye(self) -> None:
        if self._connection is not None:
            with suppress(psycopg.OperationalError, OrchestrateError):
                self._life.give(self._connection, is_ending=True)

    def _sleep(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self._stop.signum and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, SLICE_SECONDS))

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.close()
            self._connection = None
