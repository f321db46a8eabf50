# SPDX-License-Identifier: Apache-2.0
"""`ipai audit`: the log of secrets, whether it is whole, and the reviews that are signed in it."""

from collections import deque
from itertools import islice

import click

from ipai_orchestrate.cli.output import (
    answer,
    console,
    json_option,
    limit_option,
    print_json,
    print_table,
)
from ipai_orchestrate.cli.plane import opened_plane
from ipai_orchestrate.cli.review import (
    access_command,
    retention_command,
    reviews_command,
    tokens_command,
)
from ipai_orchestrate.reviews import ReviewBook
from ipai_orchestrate.secrets import AuditReport, Mark, verify
from ipai_orchestrate.secrets.audit import read_log

BROKEN = 1


@click.group("audit")
def audit_command() -> None:
    """Look at the log of secrets and verify it; review access, credentials and retention.

    \b
    Examples:
      ipai audit list --secret github-acme/token
      ipai audit verify
      ipai audit access --month 2026-11
      ipai audit access --month 2026-11 --sign-off --note "loader-2 removed"
    """


for _command in (access_command, tokens_command, retention_command, reviews_command):
    audit_command.add_command(_command)


@audit_command.command("list")
@click.option("--secret", "name", metavar="NAME", help="Only this secret.")
@limit_option(50, "The last how many.")
@json_option
def list_(name: str | None, limit: int, as_json: bool) -> None:
    """List who stored, asked for, read, changed and was refused secrets; the newest last.

    \b
    Examples:
      ipai audit list
      ipai audit list --secret github-acme/token --limit 500 --json
    """
    with opened_plane() as (_, plane):
        found = list(islice(deque(read_log(plane.connection, name), maxlen=limit), limit))
    rows = [
        (
            one.seq,
            f"{one.at:%Y-%m-%d %H:%M:%S}",
            one.actor,
            one.action,
            one.secret_name,
            str(one.run_id or "")[:8],
            one.detail or "",
        )
        for one in found
    ]
    columns = ("No.", "At", "Who", "What", "Secret", "Run", "Detail")
    answer(found, as_json, lambda: print_table(columns, rows, "Nothing was done with secrets yet."))


@audit_command.command("verify")
@click.option("--mark", "text", metavar="SEQ:HASH", help="What an earlier call printed.")
@json_option
def verify_(text: str | None, as_json: bool) -> int:
    """Compute the chain of the log again: shows a changed, removed or reordered row.

    Reports that were signed are compared with what the log says of them.

    Whoever owns the database could write the whole log anew. Keep the mark that this prints
    elsewhere and pass it next time: then that shows too. Ends with 1 when something is wrong.

    \b
    Examples:
      ipai audit verify
      ipai audit verify --mark "$(cat last-mark)"
    """
    expected = Mark.parse(text) if text else None
    with opened_plane() as (_, plane):
        report = verify(plane.connection, expected)
        problems = ReviewBook(plane.connection).problems() if report.intact else []
    if as_json:
        print_json(
            {
                "intact": report.intact and not problems,
                "rows": report.rows,
                "problem": report.problem or next(iter(problems), None),
                "mark": str(report.mark),
            }
        )
    else:
        _show(report)
        for problem in problems:
            console().print(f"[red]Broken[/]: {problem}")
    return 0 if report.intact and not problems else BROKEN


def _show(report: AuditReport) -> None:
    if report.problem:
        console().print(f"[red]Broken[/]: {report.problem} {report.rows} rows before are whole.")
        return
    console().print(f"[green]Intact[/]: {report.rows} rows.")
    console().print(f"Mark to keep elsewhere: {report.mark}", soft_wrap=True)
