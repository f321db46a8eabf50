# SPDX-License-Identifier: Apache-2.0
"""`ipai pipeline`: what runs after what."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import click
from rich.markup import escape

from ipai_orchestrate.cli.output import (
    ago,
    answer,
    console,
    json_option,
    print_json,
    print_table,
    say_done,
)
from ipai_orchestrate.exceptions import NotFoundError
from ipai_orchestrate.pipeline.database import opened_database
from ipai_orchestrate.pipelines import PipelineRegister, PipelineRun, read_pipelines

WAIT_SECONDS = 1.0


@click.group("pipeline")
def pipeline_command() -> None:
    """Run instances and transforms one after the other.

    \b
    Examples:
      ipai pipeline apply pipelines/
      ipai pipeline run nightly --wait
      ipai pipeline show nightly

    A pipeline is a YAML file of steps; each runs through the queue, so that workers perform it and
    `ipai runs` shows it.
    """


@pipeline_command.command("apply")
@click.argument(
    "paths",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, path_type=Path),
    metavar="PATH...",
)
@click.option("--check", is_flag=True, help="Only tell what is wrong; needs no database.")
@json_option
def apply(paths: tuple[Path, ...], check: bool, as_json: bool) -> None:
    """Create pipelines from files or folders of files, or bring them up to date.

    \b
    Examples:
      ipai pipeline apply pipelines/nightly.yaml
      ipai pipeline apply pipelines/ --check

    Every problem is told with its line and column, and then nothing is applied.
    """
    files = read_pipelines(paths)
    if check:
        answer([file.name for file in files], as_json, lambda: console().print("Valid."))
        return
    with _opened_register() as register:
        applied = [register.apply(file) for file in files]
    rows = [
        (one.pipeline, one.version, "created" if one.created else "changed" if one.changed else "")
        for one in applied
    ]
    answer(applied, as_json, lambda: print_table(("Pipeline", "Version", ""), rows, ""))


@pipeline_command.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List all pipelines with their triggers and last runs.

    \b
    Example:
      ipai pipeline list
    """
    with _opened_register() as register:
        found = register.all()
    rows = [
        (
            one.name,
            one.status,
            one.steps,
            " ".join(filter(None, (one.schedule, one.timezone))),
            ", ".join(one.fresh),
            one.last_status,
            ago(one.last_started_at),
        )
        for one in found
    ]
    columns = ("Pipeline", "Status", "Steps", "Schedule", "When fresh", "Last run", "Started")
    empty = "No pipelines yet. Write one and apply it: ipai pipeline apply --help"
    answer(found, as_json, lambda: print_table(columns, rows, empty))


@pipeline_command.command("run")
@click.argument("name")
@click.option("--wait", is_flag=True, help="Wait for the end; 1 when it did not succeed.")
@json_option
def run(name: str, wait: bool, as_json: bool) -> int:
    """Start a pipeline; workers perform its steps.

    \b
    Examples:
      ipai pipeline run nightly
      ipai pipeline run nightly --wait
    """
    with _opened_register() as register:
        return _follow(register, register.run(name), wait=wait, as_json=as_json)


@pipeline_command.command("retry")
@click.argument("name", metavar="NAME|RUN")
@click.option("--wait", is_flag=True, help="Wait for the end; 1 when it did not succeed.")
@json_option
def retry(name: str, wait: bool, as_json: bool) -> int:
    """Start what has not succeeded in the last run, and what comes after it.

    \b
    Example:
      ipai pipeline retry nightly

    Steps that were changed since are done again too.
    """
    with _opened_register() as register:
        run_id = register.retry(_run_id(register, name))
        return _follow(register, run_id, wait=wait, as_json=as_json)


def _follow(register: PipelineRegister, run_id: UUID, *, wait: bool, as_json: bool) -> int:
    found = register.status(run_id)
    while wait and found.status == "running":
        time.sleep(WAIT_SECONDS)
        found = register.status(run_id)
    if as_json:
        print_json(found)
    elif wait:
        _show(found)
    else:
        name = found.pipeline
        console().print(f"Started {name}: {run_id}\nFollow it: ipai pipeline show {name}")
    return 1 if wait and found.status != "succeeded" else 0


@pipeline_command.command("show")
@click.argument("name", metavar="NAME|RUN")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show the last run of a pipeline, or any by its id, step by step.

    \b
    Example:
      ipai pipeline show nightly
    """
    with _opened_register() as register:
        found = register.status(_run_id(register, name))
    answer(found, as_json, lambda: _show(found))


@pipeline_command.command("cancel")
@click.argument("name", metavar="NAME|RUN")
@click.option("--reason", help="Told in the runs that end.")
@json_option
def cancel(name: str, reason: str | None, as_json: bool) -> None:
    """End the run of a pipeline and the runs of its steps.

    \b
    Example:
      ipai pipeline cancel nightly --reason "wrong credentials"
    """
    with _opened_register() as register:
        run_id = _run_id(register, name)
        outcome = register.cancel(run_id, reason)
    told = "Cancelled." if outcome == "cancelled" else "Too late: it has ended."
    say_done(as_json, told, run_id=run_id, outcome=outcome, reason=reason)


@pipeline_command.command("pause")
@click.argument("name")
@json_option
def pause(name: str, as_json: bool) -> None:
    """Let a pipeline start by hand only.

    \b
    Example:
      ipai pipeline pause nightly
    """
    _set_status(name, "paused", as_json=as_json)


@pipeline_command.command("resume")
@click.argument("name")
@json_option
def resume(name: str, as_json: bool) -> None:
    """Let the triggers of a pipeline start it again.

    \b
    Example:
      ipai pipeline resume nightly
    """
    _set_status(name, "active", as_json=as_json)


def _set_status(name: str, status: str, *, as_json: bool) -> None:
    with _opened_register() as register:
        register.set_status(name, status)
    say_done(as_json, f"{name} is {status}.", pipeline=name, status=status)


def _show(run: PipelineRun) -> None:
    rows = [
        (
            step["step"],
            step["instance_id"],
            step["status"],
            (step["run_id"] or "")[:8],
            step["rows_processed"],
            next(iter((step["reason"] or _waiting(step)).splitlines()), ""),
        )
        for step in run.steps
    ]
    title = f"{run.pipeline} {run.status}, started {ago(run.started_at)} ({run.triggered_by})"
    console().print(f"{title}\n")
    columns = ("Step", "Instance", "Status", "Run", "Rows", "What happened")
    print_table(columns, rows, "", spare=("Instance", "Rows"))
    if run.error_summary:
        console().print(f"\n[red]{escape(run.error_summary)}[/]")


def _waiting(step: dict[str, Any]) -> str:
    """What a step that began is not being worked on for."""
    if step["status"] != "running" or step["run_status"] != "queued":
        return ""
    tried = f"attempt {step['attempt']} failed; " if step["attempt"] else ""
    return f"{tried}queued: ipai queue list {step['instance_id']}"


@contextmanager
def _opened_register() -> Iterator[PipelineRegister]:
    with opened_database() as database, database.connect() as connection:
        yield PipelineRegister(connection)


def _run_id(register: PipelineRegister, text: str) -> UUID:
    for one in register.all():
        if one.name == text:
            if one.last_run_id is None:
                message = f"Pipeline {text!r} has not run yet."
                raise NotFoundError(message, hint=f"Start it: ipai pipeline run {text}")
            return one.last_run_id
    try:
        return UUID(text)
    except ValueError as error:
        message = f"Pipeline {text!r} does not exist."
        raise NotFoundError(message, hint="See `ipai pipeline list`.") from error
