# SPDX-License-Identifier: Apache-2.0
"""What a command does when it fails: a sentence on standard error and an exit code with meaning."""

import difflib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

import click
import psycopg

from ipai_kit.spec import Redactor, SpecError
from ipai_orchestrate.exceptions import OrchestrateError

INTERRUPTED, OUR_BUG, TRY_AGAIN_LATER = 130, 70, 75
# The database speaks to all its clients; here its functions have these names.
_COMMANDS = {
    "dead_connector_runs()": "`ipai queue dead`",
    "set_source_limit(source_type, max_running)": "`ipai queue limit SOURCE MOST`",
    "enqueue_connector_job(instance_id)": "`ipai run INSTANCE`",
    "connector_list()": "`ipai instance list`",
    "connector_runs_list()": "`ipai runs`",
    "connector_state_versions(instance_id)": "`ipai state history INSTANCE`",
    "instance_release_list(instance_id)": "`ipai releases INSTANCE`",
    "promote_connector_instance(instance_id)": "`ipai promote INSTANCE`",
    "with target_id": "with --as",
    "by to_release": "with --release",
    "rollback_connector_state(instance_id, version)": "`ipai state rollback INSTANCE`",
    "set_webhook_status(endpoint_id, status)": "`ipai webhook set ENDPOINT --status active`",
    "rotate_webhook_secret(endpoint_id, secret_ref)": "`ipai webhook rotate ENDPOINT`",
    "webhook_list()": "`ipai webhook list`",
    "create_secret(name, value)": "`ipai secret set NAME`",
    "rotate_secret(name, value)": "`ipai secret rotate NAME`",
    "secret_list()": "`ipai secret list`",
    "set_instance_status(instance_id, status)": "`ipai instance set INSTANCE --status active`",
    "pipeline_list()": "`ipai pipeline list`",
    "schedule_list()": "`ipai schedule list`",
    "alert_list()": "`ipai alerts list`",
    "alert_rule_list()": "`ipai alerts rules`",
    "cancel_pipeline(run_id)": "`ipai pipeline cancel NAME`",
    "run_pipeline(name)": "`ipai pipeline run NAME`",
    "take_review(kind)": "`ipai audit KIND`",
}


class Door(click.Group):
    """A group of commands whose errors are told in words, never as a traceback."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command, or name the one that was meant."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            meant = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            if not meant:
                raise
            message = f"{error.message} Did you mean `{ctx.command_path} {meant[0]}`?"
            raise click.UsageError(message, ctx) from error

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line and end the process with its code."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, False, **extra)
        try:
            code = super().main(args, prog_name, complete_var, False, **extra)
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
        except (KeyboardInterrupt, click.Abort):
            _end("Stopped.", INTERRUPTED)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except Exception as error:  # noqa: BLE001 - the edge of the program
            _end(*told(error))
        sys.exit(code if isinstance(code, int) else 0)


def told(error: Exception) -> tuple[str, int]:
    """The words and the exit code for an error, without secrets."""
    if os.environ.get("IPAI_DEBUG"):
        click.echo(Redactor().text("".join(traceback.format_exception(error))), err=True)
    text = Redactor().text(str(error).strip())
    for function, command in _COMMANDS.items():
        text = text.replace(function, command)
    if isinstance(error, OrchestrateError | SpecError):
        return text, error.exit_code
    if isinstance(error, psycopg.OperationalError):
        return f"The database cannot be reached: {text}\n{_where_it_is()}", TRY_AGAIN_LATER
    name = type(error).__name__
    hint = "This is a bug: set IPAI_DEBUG=1 to see where it happened, and report it."
    return f"{name}: {text}\n{hint}", OUR_BUG


def _where_it_is() -> str:
    if os.environ.get("IPAI_DATABASE_URL"):
        return "Look whether it runs and whether IPAI_DATABASE_URL names it, then try again."
    return "See `ipai db status`, then try again."


def _end(text: str, code: int) -> NoReturn:
    click.secho(f"Error: {text}" if code != INTERRUPTED else text, err=True, fg="red")
    sys.exit(code)
