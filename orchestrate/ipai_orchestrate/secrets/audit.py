# SPDX-License-Identifier: Apache-2.0
"""Verifies the log of secrets: computes every hash again, here and not in the database."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from ipai_orchestrate.exceptions import ConfigurationError
from ipai_orchestrate.secrets import calls

START = hashlib.sha256(b"ipai secret audit").hexdigest()
PAGE = 5000


@dataclass(frozen=True, kw_only=True)
class AuditRow:
    """One thing somebody did with a secret."""

    seq: int
    at: datetime
    actor: str
    action: str
    secret_name: str
    secret_id: UUID | None
    run_id: UUID | None
    detail: str | None
    hash: str

    def hash_after(self, previous: str) -> str:
        """The hash this row must have after the one before."""
        at = f"{self.at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
        fields = (
            previous,
            self.seq,
            at,
            self.actor,
            self.action,
            self.secret_name,
            self.secret_id,
            self.run_id,
            self.detail,
        )
        return hashlib.sha256(b",".join(_with_length(one) for one in fields)).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A row of the log by number and hash; kept elsewhere, it shows a log that was written anew."""

    seq: int
    hash: str

    @classmethod
    def parse(cls, text: str) -> "Mark":
        """Read `<seq>:<hash>`."""
        seq, _, digest = text.partition(":")
        if not seq.isdigit() or len(digest) != len(START):
            message = f"{text!r} is no mark of the log. It looks like 17:9f86d081…, 64 digits."
            raise ConfigurationError(message)
        return cls(seq=int(seq), hash=digest)

    def __str__(self) -> str:
        """The form to keep."""
        return f"{self.seq}:{self.hash}"


@dataclass(frozen=True)
class AuditReport:
    """What was found; `problem` names the first row that is not as it was written."""

    rows: int
    mark: Mark
    problem: str | None = None

    @property
    def intact(self) -> bool:
        """Whether every row is in its place."""
        return self.problem is None


def read_log(
    connection: calls.Connection, secret_name: str | None = None, page: int = PAGE
) -> Iterator[AuditRow]:
    """The whole log, oldest first, a page at a time."""
    after = 0
    while True:
        arguments = {"after_seq": after, "limit": page, "secret_name": secret_name}
        found = calls.rows(connection, AuditRow, "audit", arguments)
        yield from found
        if len(found) < page:
            return
        after = found[-1].seq


def verify(
    connection: calls.Connection, expected: Mark | None = None, page: int = PAGE
) -> AuditReport:
    """Follow the chain from its start to its head, and past a mark kept elsewhere."""
    (head,) = calls.rows(connection, Mark, "audit_head", {})  # first: the log may grow meanwhile
    due = [mark for mark in (expected, head) if mark is not None and mark.seq > 0]
    last = Mark(seq=0, hash=START)
    for row in read_log(connection, page=page):
        if row.seq != last.seq + 1:
            return AuditReport(last.seq, last, f"Row {last.seq + 1} is missing.")
        if row.hash != row.hash_after(last.hash):
            return AuditReport(
                last.seq, last, f"Row {row.seq} is not as it was written, or not in its place."
            )
        last = Mark(seq=row.seq, hash=row.hash)
        for mark in due:
            if mark.seq == row.seq and mark.hash != row.hash:
                return AuditReport(
                    row.seq - 1, last, f"Row {row.seq} is not the one of mark {mark}."
                )
    if missing := [mark.seq for mark in due if mark.seq > last.seq]:
        return AuditReport(
            last.seq, last, f"Rows {last.seq + 1} to {max(missing)} are missing at the end."
        )
    return AuditReport(last.seq, last)


def _with_length(field: object) -> bytes:
    """No two different rows give the same bytes."""
    if field is None:
        return b"-"
    data = str(field).encode()
    return str(len(data)).encode() + b":" + data
