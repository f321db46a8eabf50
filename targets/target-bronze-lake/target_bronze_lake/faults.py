# SPDX-License-Identifier: Apache-2.0
"""What an error of the store means for the run: try again, or stop with an exit code.

Neither delta-rs nor obstore has a class per cause: what S3 answered is in the text.
"""

import errno
import re
from typing import Final

from deltalake.exceptions import DeltaError
from obstore.exceptions import BaseError

from ipai_kit.exceptions import (
    ConfigurationError,
    ConnectorError,
    CredentialsError,
    InternalError,
    TryAgainLaterError,
)
from target_bronze_lake.table_log import CommitConflictError

STORE_ERRORS: Final = (OSError, DeltaError, BaseError, CommitConflictError)
"""What reading from or writing to a store may raise."""

_REFUSED: Final = re.compile(
    r"AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken|InvalidToken"
    r"|\b40[13]\b|Forbidden|Unauthorized|Permission ?denied|NoCredentials|UnauthenticatedError",
    re.IGNORECASE,
)
_MISPLACED: Final = re.compile(
    r"NoSuchBucket|bucket does not exist|PermanentRedirect|InvalidBucketName"
    r"|AuthorizationHeaderMalformed|IllegalLocationConstraint|failed to lookup address"
    r"|dns error|relative URL without a base|URL scheme is not allowed",
    re.IGNORECASE,
)
_FULL: Final = re.compile(r"No space left|Disk quota exceeded|os error (28|122)", re.IGNORECASE)
_LONGEST: Final = 300
_FULL_NUMBERS: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


def may_pass(error: Exception) -> bool:
    """Whether the same work may succeed a little later."""
    if isinstance(error, CommitConflictError):
        return True
    return type(explain(error)) is TryAgainLaterError and not _is_full(error)


def explain(error: Exception) -> ConnectorError:
    """The error for the reader of the log, by what they can do about it."""
    text = brief(error)
    if isinstance(error, CommitConflictError):
        message = "Others committed to the same table again and again."
        return TryAgainLaterError(message, next_step="Run again; what was committed is safe.")
    if _is_full(error):
        message = f"The lake has no space left: {text}."
        return TryAgainLaterError(message, next_step="Free space; what was committed is safe.")
    if _MISPLACED.search(text):
        message = f"The lake was not found: {text}."
        return ConfigurationError(
            message, next_step="Check 'lake_url', 'endpoint_url' and 'region'."
        )
    if isinstance(error, PermissionError) or _REFUSED.search(text):
        message = f"The store refuses access: {text}."
        step = "Check the keys, and that they may list, read, write and delete in 'lake_url'."
        return CredentialsError(message, next_step=step)
    if isinstance(error, DeltaError) and not isinstance(error, OSError) and _is_protocol(text):
        return InternalError(f"The table cannot be written: {text}.", next_step="Report it.")
    message = f"The store failed: {text}."
    return TryAgainLaterError(message, next_step="Run again; what was committed is safe.")


def brief(error: Exception) -> str:
    """The first line of an error's text, of a bearable length."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    text = lines[0].rstrip(".")
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _is_full(error: Exception) -> bool:
    return getattr(error, "errno", None) in _FULL_NUMBERS or bool(_FULL.search(str(error)))


def _is_protocol(text: str) -> bool:
    return bool(re.search(r"protocol|feature|schema", text, re.IGNORECASE))
