# SPDX-License-Identifier: Apache-2.0
"""Errors of one file; the other files go on, and the run ends with the first of them.

ConnectorError                 exit 1    (kit)
├── UnreadableFileError        exit 1    replace the file: it is damaged, or not what its name says
├── FileMissingError           exit 78   correct the path, or deliver the file
├── CredentialsError           exit 77   (kit) renew or widen the credentials
└── FileChangedError           exit 75   run again: somebody was writing the file
"""

from __future__ import annotations

from ipai_kit.exceptions import ConfigurationError, ConnectorError, TryAgainLaterError

__all__ = ["FileChangedError", "FileMissingError", "UnreadableFileError", "ValueTooLongError"]


class UnreadableFileError(ConnectorError):
    """The file is damaged."""


class FileMissingError(ConfigurationError):
    """There is no such file."""


class FileChangedError(TryAgainLaterError):
    """The file changed while it was read."""


class ValueTooLongError(ValueError):
    """A line is longer than a value may be; `head` is its beginning."""

    def __init__(self, head: str) -> None:
        self.head = head
        super().__init__("The line is longer than 'max_value_bytes'.")
