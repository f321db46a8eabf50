# SPDX-License-Identifier: Apache-2.0
"""What an error of the store means for the run: try again, or stop with an exit code.

Neither delta-rs nor obstore has a class per cause: what S3 answered is in the text.
"""

import errno
import re
from typing import Final

from deltalake.exceptions import DeltaError, DeltaProtocolError, SchemaMismatchError
from obstore.exceptions import BaseError

from ipai_kit.exceptions import (
    ConfigurationError,
    ConnectorError,
    CredentialsError,
    TryAgainLaterError,
)
from target_bronze_lake.table_log import CommitConflictError

STORE_ERRORS: Final = (OSError, DeltaError, BaseError, CommitConflictError)
"""What reading from or writing to a store may raise."""

_REFUSED: Final = re.compile(
    r"AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken|InvalidToken"
    r"|status: 40[13]\b|40[13] (Forbidden|Unauthorized)|Permission ?denied|NoCredentials",
    re.IGNORECASE,
)
_MISPLACED: Final = re.compile(
    r"NoSuchBucket|bucket does not exist|PermanentRedirect|InvalidBucketName"
    r"|AuthorizationHeaderMalformed|IllegalLocationConstraint|failed to lookup address"
    r"|dns error|relative URL without a base|URL scheme is not allowed",
    re.IGNORECASE,
)
_FULL: Final = re.compile(r"No space left|Disk quota exceeded|os error (28|122)", re.IGNORECASE)
_ORNAMENTS: Final = re.compile(r"\x1b\[[0-9;]*m|↳")
_S3_CODE: Final = re.compile(r"<Code>(\w+)</Code>(?:\s*<Message>([^<]*)</Message>)?")
_OF_TABLE: Final = (DeltaProtocolError, SchemaMismatchError)
_NEWER: Final = re.compile(r"Unsupported minimum|Feature '[^']*' is not supported|Unknown feature")
"""What delta-rs says of a table whose protocol is newer than itself."""
_RUN_AGAIN: Final = "Run again; what was committed is safe."
_LONGEST: Final = 300
_FULL_NUMBERS: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


def may_pass(error: Exception) -> bool:
    """Whether the same work may succeed a little later."""
    if isinstance(error, CommitConflictError):
        return True
    return type(explain(error)) is TryAgainLaterError and not _is_full(error)


def explain(error: Exception, place: str = "") -> ConnectorError:
    """The error for the reader of the log, by what they can do about it; `place` is the store's."""
    whole, text = str(error), brief(error)
    if isinstance(error, CommitConflictError):
        message = "Others committed to the same table again and again."
        return TryAgainLaterError(message, next_step=_RUN_AGAIN)
    if _is_full(error):
        message = f"The lake has no space left: {text}."
        return TryAgainLaterError(message, next_step="Free space; what was committed is safe.")
    if _MISPLACED.search(whole):
        message = f"The lake was not found: {text}."
        step = "Check 'lake_url', 'endpoint_url' and 'region'."
        return ConfigurationError(message, next_step=step)
    if isinstance(error, PermissionError) or _REFUSED.search(whole):
        message = f"The store refuses access: {text}."
        step = "Check the keys, and that they may list, read, write and delete in 'lake_url'."
        return CredentialsError(message, next_step=step)
    if isinstance(error, _OF_TABLE) or (isinstance(error, DeltaError) and _NEWER.search(whole)):
        message = f"The table is not one that this target writes: {text}."
        return ConfigurationError(message, next_step="Choose another 'lake_url' or 'source'.")
    where = f" at {place!r}" if place else ""
    return TryAgainLaterError(f"The store{where} failed: {text}.", next_step=_RUN_AGAIN)


def brief(error: Exception) -> str:
    """What the store answered, in one line: the innermost cause of the libraries' long texts."""
    text = _ORNAMENTS.sub(" ", str(error).partition("Debug source")[0])
    if code := _S3_CODE.search(text):
        return f"{code[1]}, {code[2].rstrip('.')}" if code[2] else code[1]
    line = " ".join(text.split()).rpartition(" - ")[2].rstrip(".")
    shown = line or type(error).__name__
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"


def _is_full(error: Exception) -> bool:
    return getattr(error, "errno", None) in _FULL_NUMBERS or bool(_FULL.search(str(error)))
