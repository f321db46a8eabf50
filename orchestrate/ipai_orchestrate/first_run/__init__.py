# SPDX-License-Identifier: Apache-2.0
"""The first instance of a source: what to ask, what to keep of the answers, what to do next."""

from ipai_orchestrate.first_run.answers import (
    SANDBOX_ENV,
    Answers,
    begin,
    given_secrets,
    refuse_gaps,
    with_sandbox,
)
from ipai_orchestrate.first_run.closing import FirstRows, find_rows, next_commands, show_rows
from ipai_orchestrate.first_run.keeping import find_existing, keep, pause
from ipai_orchestrate.first_run.questions import (
    ask_again,
    ask_gaps,
    choose_id,
    choose_source,
    offer_schedule,
)

__all__ = [
    "SANDBOX_ENV",
    "Answers",
    "FirstRows",
    "ask_again",
    "ask_gaps",
    "begin",
    "choose_id",
    "choose_source",
    "find_existing",
    "find_rows",
    "given_secrets",
    "keep",
    "next_commands",
    "offer_schedule",
    "pause",
    "refuse_gaps",
    "show_rows",
    "with_sandbox",
]
