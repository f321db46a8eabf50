# SPDX-License-Identifier: Apache-2.0
"""The command line's edge: each kind of error has its exit code and one JSON line on stderr."""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import click
from singer_sdk.exceptions import ConfigValidationError

from ipai_kit.exceptions import (
    ConfigurationError,
    ConnectorError,
    InternalError,
    TryAgainLaterError,
)
from ipai_kit.logs import event

__all__ = ["ConnectorCommand", "report_failure"]


# Records are freed by counting references: the usual 700 finds no cycles among them.
_ALLOCATIONS_BETWEEN_COLLECTIONS = 50_000


class ConnectorCommand(click.Command):
    """A Singer command that fails in the same words and codes for every connector."""

    def __init__(self, *args: Any, prepare: Callable[[], object], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._prepare = prepare

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command; the outermost frame of the process."""
        gc.freeze()  # what was imported stays: looking for cycles there costs 0.2 s a run
        gc.set_threshold(_ALLOCATIONS_BETWEEN_COLLECTIONS)
        self._prepare()
        try:
            return super().main(*args, **kwargs)
        except ConnectorError as error:
            _fail(error)
        except ConfigValidationError as error:
            message = "; ".join(error.errors) or str(error)
            _fail(ConfigurationError(message, next_step="See --about for the settings."))
        except Exception as error:  # the edge of the process
            logging.getLogger("ipai").debug("unexpected error", exc_info=error)
            message = f"{type(error).__name__}: {error}"
            _fail(InternalError(message, next_step="Report it with the log of this run."), error)


def report_failure(error: ConnectorError, cause: BaseException | None = None) -> None:
    """Write the one line that says what stopped the connector."""
    retry_at = error.retry_at if isinstance(error, TryAgainLaterError) else None
    fields = {
        "error_class": type(error).__name__,
        "message": error.message,
        "stream": error.stream,
        "url": error.url,
        "status": error.status,
        "next_step": error.next_step,
        "retry_at": retry_at.isoformat(timespec="seconds") if retry_at else None,
        "exit_code": error.exit_code,
        "where": _innermost(cause) if cause else None,
    }
    event("failed", **{name: value for name, value in fields.items() if value not in (None, "")})


def _fail(error: ConnectorError, cause: BaseException | None = None) -> NoReturn:
    report_failure(error, cause)
    sys.exit(error.exit_code)


def _innermost(error: BaseException) -> str:
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    code = trace.tb_frame.f_code if trace else None
    return f"{code.co_name}:{trace.tb_lineno}" if code and trace else ""
