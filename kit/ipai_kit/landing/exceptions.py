# SPDX-License-Identifier: Apache-2.0
"""Errors of a target beside the connectors' own; exit code 65 means that the input is at fault.

ConnectorError
├── StateReaderGoneError         exit 1   whoever stores STATE has gone
└── InputError                   exit 65  look at the tap
    ├── RecordBeforeSchemaError
    ├── DeadLetterLimitError
    ├── MissingKeyError
    └── InvalidRecordError
"""

from ipai_kit.exceptions import ConnectorError
from ipai_kit.singer.reader import InputError


class StateReaderGoneError(ConnectorError):
    """Nobody reads the STATE any more."""


class RecordBeforeSchemaError(InputError):
    """A record came before the SCHEMA of its stream."""


class DeadLetterLimitError(InputError):
    """More records than allowed could not be landed."""


class MissingKeyError(InputError):
    """No record of a stream could be landed because its key is missing."""


class InvalidRecordError(InputError):
    """A record is not what its SCHEMA says, and the run is not to go on then."""
