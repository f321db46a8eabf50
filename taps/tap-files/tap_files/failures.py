# SPDX-License-Identifier: Apache-2.0
"""What a store or a library says when something is wrong, in the words and codes of the kit."""

from __future__ import annotations

import contextlib
import errno
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any, TypeGuard

from ipai_kit.exceptions import (
    ConfigurationError,
    ConnectorError,
    CredentialsError,
    InternalError,
    TryAgainLaterError,
)
from ipai_kit.rest.calls import safe_url
from tap_files.exceptions import FileChangedError, FileMissingError, UnreadableFileError

__all__ = ["explained", "explanation", "shown"]

_DAMAGED = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, UnicodeDecodeError)
_BAD_DATA = ("Invalid data stream", "ot a gzipped", "CRC check", "compressed stream", "ecompress")
_LIBRARIES = ("aiohttp", "botocore", "paramiko", "gcsfs", "google", "s3fs")
_REFUSED, _UNKNOWN, _BUSY = {401, 403}, {404, 410}, {408, 425, 429}
_NO_CREDENTIALS = {
    "NoCredentialsError",
    "PartialCredentialsError",
    "AuthenticationException",
    "PasswordRequiredException",
    "RefreshError",
    "DefaultCredentialsError",
    "NoAuthMethodsLeft",
}


def shown(address: str) -> str:
    """Return an address without user, password and secret query values."""
    return safe_url(address) if "://" in address else address


@contextlib.contextmanager
def explained(address: str) -> Iterator[None]:
    """Turn what goes wrong inside into errors that say what to do."""
    try:
        yield
    except ConnectorError:
        raise
    except Exception as error:  # the edge of foreign libraries: what they raise is theirs to choose
        raise explanation(error, shown(address)) from error


def explanation(error: Exception, place: str) -> ConnectorError:
    """Return what went wrong with a file, in our words."""
    if isinstance(error, FileNotFoundError) and _is_of_library(error.__cause__):
        error = error.__cause__  # fsspec says "not found" of whatever a web server says
    name, text = type(error).__name__, _text(error)
    if name == "FileExpired":
        return FileChangedError(f"{place!r} changed while it was read.", next_step="Run again.")
    is_circle = isinstance(error, OSError) and error.errno == errno.ELOOP
    if is_circle or isinstance(error, FileNotFoundError | NotADirectoryError):
        return _missing(place)
    is_refusal = isinstance(error, PermissionError) or name in _NO_CREDENTIALS
    if is_refusal or text.startswith("Forbidden"):
        return _refused(place, text)
    if isinstance(error, _DAMAGED) or name == "BadGzipFile":
        return _damaged(place, text)
    if _is_of_library(error):
        return _by_status(error, place, text)
    if isinstance(error, OSError) and _is_bad_data(text):
        return _damaged(place, text)
    if isinstance(error, OSError | TimeoutError):
        return _unreachable(place, text)
    message = f"{place!r} cannot be read: {name}: {text}."
    return InternalError(message, next_step="Report it with the log of this run.")


def _by_status(error: Exception, place: str, text: str) -> ConnectorError:
    status = _status(error)
    if status in _REFUSED:
        return _refused(place, text)
    if status in _UNKNOWN:
        return _missing(place)
    is_circle = type(error).__name__ == "TooManyRedirects"
    if is_circle or (status not in _BUSY and 400 <= status < 500):
        text = "it is redirected too often" if is_circle else text
        step = "Look at the address and the settings of the store."
        return ConfigurationError(f"{place!r} cannot be read: {text}.", next_step=step)
    return _unreachable(place, text)


def _status(error: Exception) -> int:
    status: Any = getattr(error, "status", None)
    if status is None:
        status = getattr(error, "code", None)
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    try:
        return int(status or 0)
    except (TypeError, ValueError):
        return 0


def _is_of_library(error: BaseException | None) -> TypeGuard[Exception]:
    modules = {one.__module__.partition(".")[0] for one in type(error).__mro__}
    return not modules.isdisjoint(_LIBRARIES)


def _is_bad_data(text: str) -> bool:
    return any(part in text for part in _BAD_DATA)


def _text(error: Exception) -> str:
    """Return the first line, which must not hold an address with secrets."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    words = [safe_url(word) if "://" in word else word for word in text.split(" ")]
    return " ".join(words)[:300].rstrip(".")


def _missing(place: str) -> ConnectorError:
    return FileMissingError(
        f"There is no file {place!r}.", next_step="Correct 'path', or deliver the file."
    )


def _refused(place: str, text: str) -> ConnectorError:
    message = f"The credentials do not open {place!r}: {text}."
    return CredentialsError(message, next_step="Renew or widen the credentials of the store.")


def _damaged(place: str, text: str) -> ConnectorError:
    return UnreadableFileError(
        f"{place!r} is damaged or cut off: {text}.", next_step="Deliver the file anew."
    )


def _unreachable(place: str, text: str) -> ConnectorError:
    return TryAgainLaterError(f"{place!r} cannot be reached: {text}.", next_step="Run again later.")
