# SPDX-License-Identifier: Apache-2.0
"""`ipai schedule`: when instances and pipelines run by themselves."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import click

from ipai_orchestrate.cli.output import ago, answer, json_option, print_table, say_done
from ipai_orchestrate.exceptions import ConfigurationError
from ipai_orchestrate.pipeline.database import opened_database
from ipai_orchestrate.scheduler import Rule, Schedule, ScheduleBook

_KINDS = ("instance", "pipeline")


@click.group("schedule")
def schedule_command() -> None:
    """Show and change when instances and pipelines run by themselves.

    \b
    Examples:
      ipai instance set github-acme --schedule "17 * * * *"
      ipai schedule list
      ipai schedule set github-acme --misfire catch_up --jitter 120

    A schedule is a cron expression in the time zone of the connector's spec, or in its own:
    CRON_TZ=Asia/Manila 0 6 * * *. The word `default` stands for the schedule of the spec.
    """


@schedule_command.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List all schedules with their next and last due times.

    \b
    Example:
      ipai schedule list
    """
    with _opened_book() as book:
        found = [_Line.of(one) for one in book.all()]
    rows = [
        (
            one.name,
            one.expression,
            one.timezone,
            one.status,
            one.next,
            ago(one.last_due),
            one.misfire,
        )
        for one in found
    ]
    columns = ("Name", "Schedule", "Time zone", "Status", "Next", "Last due", "If missed")
    empty = "No schedules yet. Set one: ipai instance set INSTANCE --schedule '17 * * * *'"
    answer(found, as_json, lambda: print_table(columns, rows, empty))


@schedule_command.command("set")
@click.argument("name")
@click.option(
    "--misfire",
    type=click.Choice(["skip", "once", "catch_up"]),
    help="Due times nobody was there for: drop them, one run for all, or a run for each.",
)
@click.option("--catch-up-max", type=int, help="With catch_up, at most so many, the newest.")
@click.option("--grace", type=int, metavar="SECONDS", help="Later than this is missed.")
@click.option("--jitter", type=int, metavar="SECONDS", help="Spread the start over this time.")
@json_option
def set_(
    name: str,
    misfire: str | None,
    catch_up_max: int | None,
    grace: int | None,
    jitter: int | None,
    as_json: bool,
) -> None:
    """Change how a schedule is followed; what is left out stays.

    \b
    Example:
      ipai schedule set github-acme --misfire skip --jitter 300
    """
    with _opened_book() as book:
        subject = _subject(book, name)
        book.change(
            subject,
            misfire=misfire,  # type: ignore[arg-type]
            catch_up_max=catch_up_max,
            grace_seconds=grace,
            jitter_seconds=jitter,
        )
        facts = _facts(book, subject)
    say_done(as_json, f"Changed {subject}.", **facts)


@schedule_command.command("pause")
@click.argument("name")
@json_option
def pause(name: str, as_json: bool) -> None:
    """Let due times pass without a run; runs by hand are still possible.

    \b
    Example:
      ipai schedule pause github-acme
    """
    _pause(name, paused=True, as_json=as_json)


@schedule_command.command("resume")
@click.argument("name")
@json_option
def resume(name: str, as_json: bool) -> None:
    """Follow a schedule again; what was due meanwhile is not made good.

    \b
    Example:
      ipai schedule resume github-acme
    """
    _pause(name, paused=False, as_json=as_json)


def _pause(name: str, *, paused: bool, as_json: bool) -> None:
    with _opened_book() as book:
        subject = _subject(book, name)
        book.change(subject, paused=paused)
        facts = _facts(book, subject)
    say_done(as_json, f"{'Paused' if paused else 'Resumed'} {subject}.", **facts)


def _facts(book: ScheduleBook, subject: str) -> dict[str, object]:
    """How a schedule is followed now."""
    return dataclasses.asdict(next(_Line.of(one) for one in book.all() if one.subject == subject))


@dataclasses.dataclass(frozen=True)
class _Line:
    """One schedule as it is shown."""

    name: str
    kind: str
    expression: str
    timezone: str
    status: str
    problem: str | None
    next_due: datetime | None
    last_due: datetime | None
    misfire: str
    catch_up_max: int
    grace_seconds: int
    jitter_seconds: int

    @classmethod
    def of(cls, schedule: Schedule) -> "_Line":
        kind, _, name = schedule.subject.partition(":")
        status, coming = "active" if schedule.runs else "paused", None
        try:
            rule = Rule.parse(schedule.expression, schedule.timezone)
            coming = rule.next_after(schedule.seen_at).astimezone(rule.zone)
        except ConfigurationError as error:
            status = str(error)
        if schedule.runs and schedule.problem and coming:
            status = f"last time not queued: {schedule.problem}"
        return cls(
            name=name,
            kind=kind,
            expression=schedule.expression,
            timezone=schedule.timezone,
            status=status,
            problem=schedule.problem,
            next_due=coming if schedule.runs else None,
            last_due=schedule.last_due,
            misfire=schedule.misfire,
            catch_up_max=schedule.catch_up_max,
            grace_seconds=schedule.grace_seconds,
            jitter_seconds=schedule.jitter_seconds,
        )

    @property
    def next(self) -> str:
        return f"{self.next_due:%Y-%m-%d %H:%M %Z}" if self.next_due else ""


@contextmanager
def _opened_book() -> Iterator[ScheduleBook]:
    with opened_database() as database, database.connect() as connection:
        yield ScheduleBook(connection)


def _subject(book: ScheduleBook, name: str) -> str:
    """The schedule of an instance or pipeline of that name, or of `pipeline:name`."""
    if name.partition(":")[0] in _KINDS:
        return name
    found = [one.subject for one in book.all() if one.subject.partition(":")[2] == name]
    if len(found) > 1:
        message = f"Name {name!r} is that of several. Write {' or '.join(found)}."
        raise ConfigurationError(message)
    return found[0] if found else f"instance:{name}"
