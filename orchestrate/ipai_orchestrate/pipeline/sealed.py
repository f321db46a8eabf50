# SPDX-License-Identifier: Apache-2.0
"""Hands a child process a file that exists in memory only: settings must never touch a disk."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class SealedFile:
    """An open descriptor whose content nobody can change; a child reads it as `path`."""

    descriptor: int

    @property
    def path(self) -> str:
        """The name under which a child that inherited the descriptor opens it."""
        return f"/dev/fd/{self.descriptor}"


@contextmanager
def sealed_file(content: bytes) -> Iterator[SealedFile]:
    """Keep `content` readable through a descriptor for as long as the block runs."""
    descriptor = _memory_file() if hasattr(os, "memfd_create") else _unlinked_file()
    try:
        _write_all(descriptor, content)
        os.lseek(descriptor, 0, os.SEEK_SET)
        if hasattr(os, "memfd_create"):
            _seal(descriptor)
        yield SealedFile(descriptor)
    finally:
        os.close(descriptor)


def _memory_file() -> int:
    return os.memfd_create("ipai", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)


def _unlinked_file() -> int:
    """Where the kernel has no memory files (macOS): owner-only and nameless from the start."""
    descriptor, name = tempfile.mkstemp(prefix="ipai-")
    os.unlink(name)  # noqa: PTH108 - mkstemp gives a plain string
    return descriptor


def _seal(descriptor: int) -> None:
    seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
