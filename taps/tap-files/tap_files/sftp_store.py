# SPDX-License-Identifier: Apache-2.0
"""The SFTP store: names of files may hold any character."""

from __future__ import annotations

from fsspec.implementations.sftp import SFTPFileSystem  # type: ignore[import-untyped]

from tap_files.folders import Refusals

__all__ = ["SftpStore"]


class SftpStore(Refusals, SFTPFileSystem):  # type: ignore[misc]
    """As fsspec has it, but `?` and `#` are no delimiters of a path."""

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        _, is_address, rest = path.partition("://")
        return "/" + rest.partition("/")[2] if is_address else path
