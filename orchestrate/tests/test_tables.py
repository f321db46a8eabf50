# SPDX-License-Identifier: Apache-2.0
"""Tables on terminals of any width: sentences have room, and nothing is lost on wide ones."""

from __future__ import annotations

import pytest
from rich.console import Console

from ipai_orchestrate.cli import output

COLUMNS = ("Run", "Instance", "Mode", "Status", "Started", "Took", "Rows", "What happened")
SPARE = ("Mode", "Took", "Rows")
WRONG = "The source refuses the token of setting 'auth_token' (401). Renew it, then run again."
FAILED = ("3f2a9c1d", "github-acme-staging", "incremental", "failed", "3 min ago", "0:04", 0, WRONG)
DONE = ("8f2a9c1d", "odoo", "incremental", "succeeded", "2 h ago", "1:04", 12, "")


def printed(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    width: int,
    *rows: tuple[object, ...],
) -> list[str]:
    monkeypatch.setattr(output, "console", lambda: Console(width=width, highlight=False))
    output.print_table(COLUMNS, rows, "None.", SPARE)
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("width", "dropped", "room"),
    [(80, SPARE, 25), (100, SPARE, 45), (120, ("Mode",), 50), (160, (), 70)],
)
def test_what_happened_has_room_and_less_important_columns_give_way(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    width: int,
    dropped: tuple[str, ...],
    room: int,
) -> None:
    header, *_ = lines = printed(monkeypatch, capsys, width, FAILED, DONE)

    assert [name for name in COLUMNS if name not in header] == list(dropped)
    assert width - header.index("What happened") >= room
    assert all(len(line) <= width for line in lines)
    assert WRONG == " ".join(" ".join(line[header.index("What") :] for line in lines[1:]).split())


def test_a_table_without_sentences_keeps_its_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    header, *_ = printed(monkeypatch, capsys, 80, (*DONE[:2], "cdc", *DONE[3:]))

    assert all(name in header for name in COLUMNS)


def test_an_empty_table_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert printed(monkeypatch, capsys, 80) == ["None."]
