# SPDX-License-Identifier: Apache-2.0
"""Stores with folders. fsspec leaves out of a search what it may not list; here it is told."""

from __future__ import annotations

from typing import Any

from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]

__all__ = ["LocalStore", "Refusals"]


class Refusals:
    """A mixin that remembers which folders could not be listed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.refused: list[tuple[str, OSError]] = []
        super().__init__(*args, **kwargs)

    def ls(self, path: str, detail: bool = False, **kwargs: Any) -> Any:
        """List a folder."""
        try:
            return super().ls(path, detail=detail, **kwargs)  # type: ignore[misc]
        except OSError as error:
            self.refused.append((path, error))
            raise


class LocalStore(Refusals, LocalFileSystem):  # type: ignore[misc]
    """The files of this machine."""
