# SPDX-License-Identifier: Apache-2.0
"""`ipai audit access|tokens|retention`: reports of a period, and the signature under them."""

from collections.abc import Sequence

import click

from ipai_orchestrate.cli.output import (
    ago,
    answer,
    console,
    json_option,
    limit_option,
    print_json,
    print_table,
)
from ipai_orchestrate.cli.plane import opened_plane
from ipai_orchestrate.exceptions import NotFoundError
from ipai_orchestrate.reviews import Review, ReviewBook, day_of

# What a table for people shows of each kind.
_COLUMNS = {
    "access": {
        "login": "Login",
        "role": "Role",
        "connector": "Connector",
        "uses": "Uses",
        "last_used_at": "Last used",
        "finding": "Finding",
    },
    "tokens": {
        "name": "Credential",
        "kind": "Kind",
        "scopes": "Scopes",
        "age_days": "Age, days",
        "last_rotated_at": "Last rotated",
        "expires_at": "Expires",
        "used_by": "Used by",
        "finding": "Finding",
    },
    "retention": {
        "layer": "Layer",
        "relation": "Table",
        "oldest_at": "Oldest row",
        "age_days": "Age, days",
        "keep_days": "Kept, days",
        "finding": "Finding",
    },
}

_signed = click.option("--sign-off", is_flag=True, help="Sign the newest report of the period.")
_note = click.option("--note", help="What you did about the findings; kept with the signature.")


@click.command("access")
@click.option("--month", metavar="2026-11", help="The month; else the present one.")
@_signed
@_note
@json_option
def access_command(month: str | None, sign_off: bool, note: str | None, as_json: bool) -> None:
    """Review who may do what: each login, its roles, and when it last used each connector.

    The report is stored as you see it. Look at it, change what has to be changed, then sign it; an
    alert is raised when a month is not signed 14 days after its end.

    \b
    Examples:
      ipai audit access
      ipai audit access --month 2026-11 --sign-off --note "loader-2 removed"
    """
    _review("access", month, sign_off, note, as_json)


@click.command("tokens")
@click.option("--quarter", metavar="2026-Q4", help="The quarter; else the present one.")
@_signed
@_note
@json_option
def tokens_command(quarter: str | None, sign_off: bool, note: str | None, as_json: bool) -> None:
    """Review every credential: age, scopes, last rotation, expiry, and what uses it.

    \b
    Examples:
      ipai audit tokens
      ipai audit tokens --quarter 2026-Q4 --sign-off --note "all rotated"
    """
    _review("tokens", quarter, sign_off, note, as_json)


@click.command("retention")
@click.option("--year", metavar="2026", help="The year; else the present one.")
@_signed
@_note
@json_option
def retention_command(year: str | None, sign_off: bool, note: str | None, as_json: bool) -> None:
    """Review what is kept: the oldest row of every table beside what its layer keeps, and archives.

    \b
    Examples:
      ipai audit retention
      ipai audit retention --year 2026 --sign-off
    """
    _review("retention", year, sign_off, note, as_json)


@click.command("reviews")
@limit_option(50, "The last how many.")
@json_option
def reviews_command(limit: int, as_json: bool) -> None:
    """List the reports that were made, and who has signed them.

    \b
    Example:
      ipai audit reviews
    """
    with opened_plane() as (_, plane):
        found = ReviewBook(plane.connection).all(limit=limit)
    rows = [
        (
            one.kind,
            str(one.starts_on),
            ago(one.taken_at),
            one.taken_by,
            one.entries,
            one.findings,
            one.signed_by or "not signed",
            one.note or "",
        )
        for one in found
    ]
    columns = ("Review", "From", "Made", "By", "Entries", "Findings", "Signed by", "Note")
    empty = "No review yet. Begin with: ipai audit access"
    answer([_record(one) for one in found], as_json, lambda: print_table(columns, rows, empty))


def _review(kind: str, period: str | None, sign_off: bool, note: str | None, as_json: bool) -> None:
    day = day_of(kind, period)
    with opened_plane() as (_, plane):
        book = ReviewBook(plane.connection)
        if not sign_off:
            seen = book.take(kind, day)
        else:
            seen = _unsigned(book.all(kind, day or None), kind, period)
            book.sign(seen, note)
            seen = next(one for one in book.all(kind, seen.starts_on) if one.id == seen.id)
    if as_json:
        print_json(_record(seen))
        return
    _show(seen)


def _unsigned(found: Sequence[Review], kind: str, period: str | None) -> Review:
    if not found or (found[0].signed_at is not None):
        already = f" since it was signed by {found[0].signed_by}" if found else ""
        message = f"Nobody has looked at {kind} of {period or 'this period'}{already}."
        raise NotFoundError(message, hint=f"Look at it first: ipai audit {kind}")
    return found[0]


def _show(seen: Review) -> None:
    columns = _COLUMNS[seen.kind]
    rows = [[_text(row[name]) for name in columns] for row in seen.rows]
    print_table(list(columns.values()), rows, "There is nothing to review.")
    console().print(
        f"{seen.kind}, {seen.starts_on} to before {seen.ends_on}: {seen.entries} entries, "
        f"{seen.findings} with a finding. sha256:{seen.content_hash}",
        soft_wrap=True,
    )
    if seen.signed_by:
        console().print(f"Signed by {seen.signed_by} in row {seen.audit_seq} of the log.")


def _text(value: object) -> object:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, str) and value[4:5] == "-" and value[10:11] == "T":
        return value[:16].replace("T", " ")
    return value


def _record(one: Review) -> dict[str, object]:
    """For machines: the entries instead of their text."""
    return {
        "id": one.id,
        "kind": one.kind,
        "starts_on": one.starts_on,
        "ends_on": one.ends_on,
        "taken_at": one.taken_at,
        "taken_by": one.taken_by,
        "entries": one.rows,
        "findings": one.findings,
        "content_hash": one.content_hash,
        "signed_at": one.signed_at,
        "signed_by": one.signed_by,
        "note": one.note,
        "audit_seq": one.audit_seq,
    }
