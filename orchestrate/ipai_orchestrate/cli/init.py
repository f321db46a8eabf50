# SPDX-License-Identifier: Apache-2.0
"""`ipai init`: from nothing to the first rows of a source, by questions or by options."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import click
from rich.console import Console
from rich.markup import escape

from ipai_kit.spec import InstalledConnector, discover_connectors
from ipai_orchestrate import first_run
from ipai_orchestrate.catalog import installed_connector
from ipai_orchestrate.cli.instance import set_option
from ipai_orchestrate.cli.output import console, error_console, json_option, print_json
from ipai_orchestrate.exceptions import ConfigurationError
from ipai_orchestrate.first_run import Answers, FirstRows
from ipai_orchestrate.first_run.questions import ask_secret, checked_schedule
from ipai_orchestrate.instances import read_settings
from ipai_orchestrate.pipeline.check import SourceCheck, check_source
from ipai_orchestrate.pipeline.database import Database, opened_database
from ipai_orchestrate.pipeline.outcome import CONFIGURATION, CREDENTIALS, Failure
from ipai_orchestrate.pipeline.runner import RunOptions, RunResult
from ipai_orchestrate.pipeline.start import RunRequest, default_work_root, run_now
from ipai_orchestrate.pipeline.stop import stop_on_signals
from ipai_orchestrate.progress import progress_for
from ipai_orchestrate.report import as_record, show_run
from ipai_orchestrate.sandbox import running_sandbox
from ipai_orchestrate.secrets import instance_secrets


@dataclass(frozen=True)
class _Options:
    """How to go about it."""

    ask: bool
    sandbox: bool
    dry: bool
    run: bool
    as_json: bool
    schedule: str | None

    @property
    def out(self) -> Console:
        """Where the story goes: standard output belongs to the JSON, if that is wanted."""
        return error_console() if self.as_json else console()


@dataclass
class _Came:
    """What came of it so far."""

    answers: Answers
    check: SourceCheck | None = None
    secrets: tuple[str, ...] = ()
    stored: bool = False
    run: RunResult | None = None
    rows: FirstRows | None = None
    code: int = 0


@click.command("init", short_help="Set up a source and sync it for the first time.")
@click.argument("source", required=False)
@click.option("--id", "instance_id", metavar="NAME", help="Its name, e.g. github-acme.")
@set_option
@click.option(
    "--secret",
    "secret_pairs",
    multiple=True,
    metavar="NAME=-",
    help="A secret: - from standard input, @FILE, or a reference '${VARIABLE}'.",
)
@click.option("--schedule", help="Cron expression, `default` for the source's own, or `none`.")
@click.option("--sandbox", is_flag=True, help="Try it on the source's stand-in.")
@click.option("--dry-run", "dry", is_flag=True, help="Ask and check, store and sync nothing.")
@click.option("--no-run", is_flag=True, help="Set it up without the first sync.")
@click.option("--yes", "-y", is_flag=True, help="Ask nothing: take what is proposed.")
@json_option
def init_command(
    source: str | None,
    instance_id: str | None,
    pairs: tuple[str, ...],
    secret_pairs: tuple[str, ...],
    schedule: str | None,
    sandbox: bool,
    dry: bool,
    no_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Set up a source step by step: settings, credentials, schedule and the first sync.

    \b
    Examples:
      ipai init
      ipai init github --sandbox --yes
      ipai init github --id github-acme --set repositories=acme/api \\
        --secret auth_token=- --yes --json < token

    Asks for what no option answers, on a terminal. Nothing is stored before the source has
    accepted the credentials; Ctrl-C and a second `ipai init` with the same name are safe any time.
    """
    ask = on_terminal() and not yes
    options = _Options(ask, sandbox, dry, not no_run, as_json, schedule)
    connector = _source(source, ask)
    spec = connector.spec()
    references, secrets = first_run.given_secrets(spec, secret_pairs, ask_secret)
    config = read_settings(spec, pairs) | references
    proposed = f"{spec.source_type}-sandbox" if sandbox else spec.source_type
    name = instance_id or first_run.choose_id(proposed, ask)
    with opened_database() as database:
        existing = first_run.find_existing(database, name)
        answers = first_run.begin(connector, name, config, secrets, existing)
        with _answered(answers, options) as complete:
            came = _perform(database, complete, options)
    if as_json:
        print_json(_record(came))
    return came.code


def on_terminal() -> bool:
    """Whether somebody is there to ask."""
    return sys.stdin.isatty()


def _source(source: str | None, ask: bool) -> InstalledConnector:
    if source:
        return installed_connector(source)
    installed = discover_connectors()
    if ask and installed:
        return first_run.choose_source(installed)
    message = f"Name a source: ipai init SOURCE. Installed: {', '.join(installed) or 'none'}."
    raise ConfigurationError(message)


@contextmanager
def _answered(answers: Answers, options: _Options) -> Iterator[Answers]:
    """All answers; with a stand-in for as long as the block runs, if that is wanted."""
    if options.sandbox:
        with running_sandbox(answers.spec.source_type) as sandbox:
            text = f"A stand-in of {answers.spec.title} serves at {sandbox.url}; its settings hold."
            options.out.print(escape(text), soft_wrap=True)
            yield first_run.with_sandbox(answers, sandbox.config())
        return
    if options.ask and answers.existing:
        text = f"Instance {answers.instance_id} is there already. Go on with it?"
        click.confirm(text, default=True, abort=True, err=True)
    if options.ask:
        answers = first_run.ask_gaps(answers)
    first_run.refuse_gaps(answers)
    yield answers


def _perform(database: Database, answers: Answers, options: _Options) -> _Came:
    came = _accepted(database, answers, options)
    if came.code:
        return came
    came.answers = _scheduled(came.answers, options)
    if options.dry:
        options.out.print("Nothing was stored: this was a dry run.")
        return came
    warn = _warner(options.out)
    came.secrets = tuple(first_run.keep(database, came.answers, warn).values())
    came.stored = True
    name = came.answers.instance_id
    options.out.print(f"[green]Stored[/] instance {name}.")
    if options.run and _wants_run(options):
        _sync(database, came, options)
    if options.sandbox:
        first_run.pause(database, name)
        options.out.print(f"Its stand-in ends here, so {name} is paused.")
    _show_next(came, options.out)
    return came


# -- the credentials ---------------------------------------------------------------------------


def _accepted(database: Database, answers: Answers, options: _Options) -> _Came:
    """Check until the source accepts, or nobody wants to try again."""
    while True:
        options.out.print(f"Checking that {answers.spec.title} answers and lets us in …")
        check = _check(database, answers)
        if check.failure is None:
            _show_accepted(check, options.out)
            return _Came(answers, check)
        _show_refused(answers, check.failure, options.out)
        again = first_run.ask_again(answers, check.failure) if options.ask else None
        if again is None:
            options.out.print("Nothing was stored.")
            return _Came(answers, check, code=check.exit_code)
        answers = again


def _check(database: Database, answers: Answers) -> SourceCheck:
    """Ask the source with secrets that are in memory only, or in the vault from before."""
    config = answers.with_values(answers.secrets)
    vault = instance_secrets(database, answers.instance_id) if answers.existing else None
    with stop_on_signals() as stop:
        try:
            check = check_source(
                answers.connector, config, (), default_work_root(), stop, secrets=vault
            )
        except ConfigurationError as error:
            check = SourceCheck((), Failure("configuration", str(error), CONFIGURATION))
    if stop.signum:
        raise click.Abort
    return check


def _show_accepted(check: SourceCheck, out: Console) -> None:
    good = [one for one in check.streams if one.outcome in {"ok", "empty"}]
    out.print(f"[green]It does[/]: {len(good)} of {len(check.streams)} streams can be read.")
    for one in check.streams:
        if one.outcome == "skipped":
            out.print(f"[yellow]Left out[/] {one.stream}: {escape(one.detail or '')}")


def _show_refused(answers: Answers, failure: Failure, out: Console) -> None:
    out.print(f"[red]It does not[/]: {escape(failure.summary)}")
    method = answers.begun_method()
    if failure.exit_code == CREDENTIALS and method:
        out.print(f"Where to get them: {escape(method.description)}")
        if method.scopes:
            out.print(f"What they need: {escape(', '.join(method.scopes))}")


# -- storing and the first sync ----------------------------------------------------------------


def _scheduled(answers: Answers, options: _Options) -> Answers:
    if options.sandbox:
        return answers
    if options.schedule is not None:
        return replace(answers, schedule=checked_schedule(options.schedule, answers.spec))
    return first_run.offer_schedule(answers, options.ask)


def _warner(out: Console) -> Any:
    return lambda text: out.print(f"[yellow]Note[/] {escape(text)}", soft_wrap=True)


def _wants_run(options: _Options) -> bool:
    return not options.ask or click.confirm("Sync it now?", default=True, err=True)


def _sync(database: Database, came: _Came, options: _Options) -> None:
    request = RunRequest(came.answers.instance_id)
    with stop_on_signals() as stop, progress_for(error_console()) as show:
        settings = RunOptions(default_work_root())
        came.run = run_now(database, request, settings, stop=stop, observer=show)
    came.code = came.run.exit_code
    came.rows = first_run.find_rows(database, came.answers)
    show_run(options.out, came.run)
    first_run.show_rows(options.out, came.rows)


def _show_next(came: _Came, out: Console) -> None:
    out.print("\n[bold]Next[/]")
    for command, what in first_run.next_commands(came.answers, came.rows).items():
        out.print(f"  {escape(command)}  [dim]# {what}[/]", soft_wrap=True)


def _record(came: _Came) -> dict[str, Any]:
    """All of it for machines; secrets as references."""
    answers = came.answers
    return {
        "instance_id": answers.instance_id,
        "source_type": answers.spec.source_type,
        "env": answers.env,
        "stored": came.stored,
        "settings": dict(answers.config),
        "secrets": list(came.secrets),
        "schedule": answers.schedule,
        "check": came.check
        and {
            "exit_code": came.check.exit_code,
            "error_summary": came.check.failure and came.check.failure.summary,
            "streams": {one.stream: one.outcome for one in came.check.streams},
        },
        "run": came.run and as_record(came.run),
        "rows": came.rows
        and {
            "bronze": came.rows.bronze,
            "silver": came.rows.silver,
            "gold": came.rows.gold,
        },
        "next": list(first_run.next_commands(answers, came.rows)) if came.stored else [],
        "exit_code": came.code,
    }
