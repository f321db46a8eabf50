# SPDX-License-Identifier: Apache-2.0
"""`ipai apply`: from reviewed files to the database."""

import dataclasses
from pathlib import Path

import click
from rich.markup import escape

from ipai_orchestrate.cli.output import answer, console, json_option
from ipai_orchestrate.exceptions import ConfigurationError
from ipai_orchestrate.pipeline.database import opened_database
from ipai_orchestrate.releases import Change, Plan, apply_declared, read_declared
from ipai_orchestrate.releases.applying import ApplyOptions

_SIGNS = {"create": "[green]+[/]", "change": "[yellow]~[/]", "disable": "[red]-[/]"}
_INTENDED = ("to create", "to change", "to disable")
_SHOWN_VALUE = 100


@click.command(
    "apply", short_help="Bring connectors, instances and pipelines to what files declare."
)
@click.argument(
    "paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(path_type=Path)
)
@click.option("--plan", "plan_only", is_flag=True, help="Only show what would change.")
@click.option("--env", help="Only instances of this environment.")
@click.option(
    "--prune",
    is_flag=True,
    help="Pause instances that were applied before and are declared no more.",
)
@click.option(
    "--exit-code", is_flag=True, help="With --plan: end with 1 when files and database differ."
)
@json_option
def apply_command(
    paths: tuple[Path, ...],
    plan_only: bool,
    env: str | None,
    prune: bool,
    exit_code: bool,
    as_json: bool,
) -> int:
    """Compare reviewed files with the database, field by field, and bring the database to them.

    \b
    Examples:
      ipai apply . --plan
      ipai apply . --env staging
      ipai apply instances/github-acme.yaml
      ipai apply . --plan --exit-code     is there drift between Git and the database?

    \b
    instances/github-acme.yaml is, for example:
      instance: github-acme
      connector: github
      env: staging
      schedule: "17 * * * *"
      config: {repositories: [acme/api], auth_token: "${GITHUB_TOKEN}"}

    Of a folder, it reads each connector.yaml and what is in folders named instances or pipelines;
    with --env, no pipelines, which may name instances of others. A connector whose spec is in no
    file is taken as it is installed here. Applying again changes nothing. A changed spec becomes
    a new version; the old ones stay. All changes are made in one transaction.
    In production a new instance is a draft and the version of a spec stays: see `ipai promote`.
    """
    if exit_code and not plan_only:
        message = "--exit-code is for --plan: without it the differences are applied."
        raise ConfigurationError(message)
    declared = read_declared(paths, env)
    options = ApplyOptions(env=env, prune=prune, plan_only=plan_only)
    with opened_database() as database, database.connect() as connection:
        plan = apply_declared(connection, declared, options)
    answer(
        {"applied": not plan_only, "changes": [_as_record(one) for one in plan.changes]},
        as_json,
        lambda: _show(plan, applied=not plan_only),
    )
    return 1 if exit_code and not plan.is_empty else 0


def _as_record(change: Change) -> dict[str, object]:
    return dataclasses.asdict(change)


def _show(plan: Plan, *, applied: bool) -> None:
    out = console()
    for change in plan.changes:
        if change.action in _SIGNS:
            note = f" ({change.note})" if change.note else ""
            out.print(f"{_SIGNS[change.action]} {change.kind} {change.name}{escape(note)}")
        for one in change.fields:
            values = f"{_brief(one.live)} -> {_brief(one.declared)}"
            out.print(f"    {escape(one.path)}: {escape(values)}", soft_wrap=True)
    for change in plan.changes:
        if change.action == "none" and "promoted" in change.note:
            out.print(f"= {change.kind} {change.name} ({escape(change.note)})")
        elif change.action == "undeclared":
            way_out = f"; ipai pipeline pause {change.name}" if change.kind == "pipeline" else ""
            note = escape(change.note) + way_out * (change.note == "active")
            out.print(f"? {change.kind} {change.name} is in no file ({note})", soft_wrap=True)
    words = ("created", "changed", "disabled") if applied else _INTENDED
    counts = (plan.count("create"), plan.count("change"), plan.count("disable"))
    told = ", ".join(f"{count} {word}" for count, word in zip(counts, words, strict=True))
    out.print(f"{'Applied' if applied else 'Plan'}: {told}, {plan.count('none')} as declared.")


def _brief(value: object) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= _SHOWN_VALUE else f"{text[:_SHOWN_VALUE]}…"
