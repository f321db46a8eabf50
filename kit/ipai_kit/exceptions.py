# SPDX-License-Identifier: Apache-2.0
"""Errors of a connector; the class says what the reader can do about them.

ConnectorError                 exit 1    anything else
├── ConfigurationError         exit 78   change the configuration
├── CredentialsError           exit 77   renew or widen the credentials
├── TryAgainLaterError         exit 75   wait: quota spent or source down (`retry_at`)
├── InternalError              exit 70   report it: the connector asked wrongly
├── StoppedError               128 + n   nothing: a signal asked for it
├── TargetClosedError          exit 1    look at the target: it closed the pipe
└── StreamUnavailableError     (skip)    one stream or partition is left out, the others go on
"""

from __future__ import annotations

from datetime import datetime

__all__ = [
    "ConfigurationError",
    "ConnectorError",
    "CredentialsError",
    "InternalError",
    "StoppedError",
    "StreamUnavailable",
    "StreamUnavailableError",
    "TargetClosedError",
    "TryAgainLaterError",
]


class ConnectorError(Exception):
    """The connector stopped."""

    exit_code: int = 1

    def __init__(
        self,
        message: str = "",
        *,
        stream: str | None = None,
        url: str | None = None,
        status: int | None = None,
        next_step: str = "",
    ) -> None:
        self.message = message or (type(self).__doc__ or "")
        self.stream = stream
        self.url = url
        self.status = status
        self.next_step = next_step
        super().__init__(self.message)

    def __str__(self) -> str:
        """One line: what happened, where, and what to do next."""
        where = [
            f"stream {self.stream!r}" if self.stream else "",
            self.url or "",
            f"status {self.status}" if self.status else "",
        ]
        place = ", ".join(part for part in where if part)
        text = f"{self.message} ({place})" if place else self.message
        return f"{text} {self.next_step}".rstrip()


class ConfigurationError(ConnectorError):
    """The configuration does not fit the source."""

    exit_code = 78


class CredentialsError(ConnectorError):
    """The source refuses the credentials."""

    exit_code = 77


class TryAgainLaterError(ConnectorError):
    """The source cannot answer now.

    `for_all` says that no other request can succeed either: the quota or the run's budget is spent.
    """

    exit_code = 75

    def __init__(
        self,
        message: str = "",
        *,
        retry_at: datetime | None = None,
        for_all: bool = False,
        stream: str | None = None,
        url: str | None = None,
        status: int | None = None,
        next_step: str = "",
    ) -> None:
        super().__init__(message, stream=stream, url=url, status=status, next_step=next_step)
        self.retry_at = retry_at
        self.for_all = for_all


class InternalError(ConnectorError):
    """The connector asked for something that the source does not understand."""

    exit_code = 70


class StoppedError(ConnectorError):
    """A signal asked the connector to stop."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"Stopped by signal {signum}.", next_step="Run again to continue.")
        self.exit_code = 128 + signum


class TargetClosedError(ConnectorError):
    """The target closed the pipe."""

    def __init__(self) -> None:
        super().__init__(
            "The reader of standard output is gone.", next_step="Look at the target's own error."
        )


class StreamUnavailableError(ConnectorError):
    """This stream or partition cannot be read; the others go on.

    `lasting` says that there is nothing to come back for (deleted, gone for legal reasons), so that
    the bookmark may move on; a missing permission is not lasting.
    """

    def __init__(
        self,
        message: str = "",
        *,
        lasting: bool = False,
        stream: str | None = None,
        url: str | None = None,
        status: int | None = None,
        next_step: str = "",
    ) -> None:
        super().__init__(message, stream=stream, url=url, status=status, next_step=next_step)
        self.lasting = lasting


StreamUnavailable = StreamUnavailableError
