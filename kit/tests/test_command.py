# SPDX-License-Identifier: Apache-2.0
"""The command line's edge in one process: what each error becomes."""

from __future__ import annotations

import gc
import json
from datetime import UTC, datetime

import click
import pytest
from singer_sdk.exceptions import ConfigValidationError

from ipai_kit.command import ConnectorCommand, report_failure
from ipai_kit.exceptions import (
    ConfigurationError,
    ConnectorError,
    CredentialsError,
    InternalError,
    StoppedError,
    StreamUnavailableError,
    TargetClosedError,
    TryAgainLaterError,
)


@pytest.fixture(autouse=True)
def collector():
    """The garbage collector as it was."""
    threshold = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)


def line(capsys):
    return json.loads(capsys.readouterr().err.splitlines()[-1])


@pytest.mark.parametrize(
    ("raised", "code", "kind"),
    [
        (ConnectorError("No."), 1, "ConnectorError"),
        (ConfigurationError("No."), 78, "ConfigurationError"),
        (CredentialsError("No."), 77, "CredentialsError"),
        (TryAgainLaterError("No."), 75, "TryAgainLaterError"),
        (InternalError("No."), 70, "InternalError"),
        (StoppedError(15), 143, "StoppedError"),
        (TargetClosedError(), 1, "TargetClosedError"),
        (ConfigValidationError("x", errors=["a is wrong"], schema={}), 78, "ConfigurationError"),
        (ZeroDivisionError("by zero"), 70, "InternalError"),
    ],
)
def test_an_error_becomes_a_code_and_a_line(capsys, raised, code, kind):
    def fail():
        raise raised

    prepared = []
    command = ConnectorCommand("tap", callback=fail, prepare=lambda: prepared.append(1))

    with pytest.raises(SystemExit) as caught:
        command.main([])
    told = line(capsys)
    assert code == caught.value.code
    assert (told["event"], told["error_class"], told["exit_code"]) == ("failed", kind, code)
    assert prepared == [1]


def test_what_was_imported_is_not_searched_for_cycles():
    frozen = []
    command = ConnectorCommand(
        "tap", callback=lambda: None, prepare=lambda: frozen.append(gc.get_freeze_count())
    )

    command.main([], standalone_mode=False)

    assert frozen[0] > 1000
    assert gc.get_threshold()[0] > 700
    assert gc.isenabled()


def test_usage_errors_stay_with_click(capsys):
    command = ConnectorCommand("tap", callback=lambda: None, prepare=lambda: None)

    with pytest.raises(SystemExit) as caught:
        command.main(["--unknown"])
    assert caught.value.code == click.UsageError.exit_code


def test_the_line_tells_where_and_until_when(capsys):
    error = TryAgainLaterError(
        "The quota is spent.",
        retry_at=datetime(2026, 1, 1, tzinfo=UTC),
        stream="issues",
        url="https://api.example.com/x",
        status=403,
        next_step="Wait.",
    )
    report_failure(error)
    told = line(capsys)

    assert told["retry_at"] == "2026-01-01T00:00:00+00:00"
    assert (told["stream"], told["status"], told["next_step"]) == ("issues", 403, "Wait.")
    assert str(error) == (
        "The quota is spent. (stream 'issues', https://api.example.com/x, status 403) Wait."
    )


def test_each_error_class_has_the_code_that_its_module_draws():
    import ipai_kit.exceptions as module

    for name in module.__all__:
        found = getattr(module, name)
        assert issubclass(found, ConnectorError)
        assert found.__name__ in module.__doc__
    assert StreamUnavailableError().exit_code == 1
    assert ConnectorError().message == "The connector stopped."
