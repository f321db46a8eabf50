# SPDX-License-Identifier: Apache-2.0
"""Which files fit a pattern now, oldest first, and by what a change of one is seen."""

from __future__ import annotations

import contextlib
import os
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

from ipai_kit.exceptions import ConnectorError
from tap_files.content import copied, seekable, unpacked
from tap_files.exceptions import FileChangedError, FileMissingError, UnreadableFileError
from tap_files.failures import explained, shown
from tap_files.matching import find_matches, is_pattern
from tap_files.patterns import PACKED, Pattern, bare
from tap_files.stores import kind_of_address

__all__ = ["SourceFile", "list_files"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class SourceFile:
    """One file, or one member of a zip archive."""

    store: Any
    path: str
    """As the store wants it."""
    name: str
    """As people and records see it: no credentials in it."""
    size: int | None = None
    modified: datetime | None = None
    etag: str | None = None
    member: str = ""
    has_ranges: bool = True
    """Whether the store gives parts of it; else it is read in one go."""

    @property
    def version(self) -> str:
        """What is another when the content is: the entity tag, else time and size, else nothing."""
        if self.etag or self.modified is None:
            return self.etag or ""
        return f"{self.modified.isoformat()}|{'' if self.size is None else self.size}"

    @property
    def modified_text(self) -> str | None:
        """The time in UTC as RFC 3339 wants it."""
        return self.modified.isoformat() if self.modified else None

    def place(self) -> dict[str, Any]:
        """Return what every row says about its file."""
        return {
            "_sdc_source_file": self.name,
            "_sdc_source_lastmodified": self.modified_text,
            "_sdc_source_etag": self.etag,
            "_sdc_source_size": self.size,
        }

    @contextlib.contextmanager
    def opened(self, *, whole: bool = False) -> Iterator[BinaryIO]:
        """Open it for reading, unpacked; `whole` formats need to go back and forth in it."""
        self._check_not_cut_off()
        options = {} if self.has_ranges else {"block_size": 0}
        with self._explained(), contextlib.ExitStack() as stack:
            raw = stack.enter_context(self.store.open(self.path, "rb", **options))
            if (whole or self.member) and not self.has_ranges:
                raw = stack.enter_context(copied(raw))  # it claims to go back all the same
            if self.member:
                archive = stack.enter_context(zipfile.ZipFile(seekable(raw)))
                raw = stack.enter_context(_member(archive, self.member))
            elif whole and raw.seekable() and not _is_packed(raw):
                yield raw
                return
            content = unpacked(raw)
            yield stack.enter_context(seekable(content)) if whole else content

    def now(self) -> SourceFile:
        """Return the file as it is now."""
        with self._explained():
            self.store.invalidate_cache()
            info = self.store.info(self.path)
        fresh = _file_of(self.store, info, self.path, self.name.partition("!")[0])
        return _as_member(fresh, self.member, self.name) if self.member else fresh

    def part(self, start: int, end: int) -> bytes:
        """Return some of its bytes as they are stored."""
        with self._explained():
            return bytes(self.store.cat_file(self.path, start=start, end=end))

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            with explained(self.name):
                yield
        except FileMissingError as error:
            message = f"{self.name!r} is gone since the files were listed."
            raise FileChangedError(message, next_step="Run again.") from error

    def _check_not_cut_off(self) -> None:
        """Nothing at all is no archive, but what a transfer that failed leaves behind."""
        if self.size == 0 and bare(self.path).lower().endswith(PACKED):
            message = f"{self.name!r} is empty, which no packed file is."
            raise UnreadableFileError(message, next_step="Deliver the file anew.")


def list_files(pattern: Pattern, store: Any) -> Iterator[SourceFile | ConnectorError]:
    """Yield what fits, oldest first; what cannot be looked at comes as its error."""
    found: list[SourceFile] = []
    is_any = False
    for one in find_matches(pattern, store):
        is_any = True
        if isinstance(one, ConnectorError):
            yield one
            continue
        path, info = one
        file = _file_of(store, info, path, _shown_name(pattern.path, path))
        if not bare(path).lower().endswith(".zip"):
            found.append(file)
            continue
        try:
            found += _members(file)
        except ConnectorError as error:
            yield error
    if not is_any and not is_pattern(pattern.path):
        message = f"{shown(pattern.path)!r} is no file."
        raise FileMissingError(message, stream=pattern.name, next_step="Add e.g. '/*.csv'.")
    yield from sorted(found, key=lambda one: (one.modified or _EPOCH, one.name))


def _file_of(store: Any, info: Mapping[str, Any], path: str, name: str) -> SourceFile:
    etag = info.get("ETag") or info.get("etag")
    return SourceFile(
        store,
        path,
        name,
        info.get("size"),
        _moment(info),
        str(etag).removeprefix("W/").strip('"') if etag else None,
        has_ranges=bool(info.get("partial", kind_of_address(path) != "http")),
    )


def _moment(info: Mapping[str, Any]) -> datetime | None:
    for name in ("LastModified", "mtime", "updated", "Last-Modified"):
        value = info.get(name)
        if isinstance(value, datetime):
            return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value, UTC)
        if isinstance(value, str):
            with contextlib.suppress(ValueError):
                return datetime.fromisoformat(value).astimezone(UTC)
            with contextlib.suppress(ValueError):
                return parsedate_to_datetime(value).astimezone(UTC)
    return None


def _shown_name(pattern: str, path: str) -> str:
    """Return the address of a file, in the manner in which the pattern is written."""
    parts = urlsplit(pattern)
    kind = kind_of_address(pattern)
    if kind == "file":  # a name need not be text: any byte but two may be in it
        return os.fsencode(path).decode("utf-8", "backslashreplace")
    if kind == "http":
        return shown(path)
    if kind == "sftp":
        host = f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname
        return f"sftp://{host}{path}"
    return f"{parts.scheme}://{path}"


# -- archives -----------------------------------------------------------------------------------


def _members(archive: SourceFile) -> list[SourceFile]:
    with archive.opened(whole=True) as raw, zipfile.ZipFile(raw) as opened:
        names = [one.filename for one in opened.infolist() if not one.is_dir()]
    wanted = [name for name in names if not _is_litter(name)]
    if twice := [name for name, count in Counter(wanted).items() if count > 1]:
        message = f"{archive.name!r} has two members {twice[0]!r}: only one of them can be read."
        raise UnreadableFileError(message, next_step="Deliver it with names of their own.")
    return [_as_member(archive, name, f"{archive.name}!{name}") for name in wanted]


def _as_member(archive: SourceFile, member: str, name: str) -> SourceFile:
    return replace(archive, member=member, name=name)


def _is_litter(name: str) -> bool:
    return name.startswith("__MACOSX/") or name.rsplit("/", 1)[-1].startswith(".")


@contextlib.contextmanager
def _member(archive: zipfile.ZipFile, name: str) -> Iterator[BinaryIO]:
    try:
        stream = archive.open(name)
    except (RuntimeError, NotImplementedError, KeyError) as error:
        message = f"Member {name!r} cannot be unpacked: {error}."
        step = "Deliver it without a password, in a usual compression."
        raise UnreadableFileError(message, next_step=step) from error
    with stream:
        yield cast("BinaryIO", stream)


def _is_packed(raw: BinaryIO) -> bool:
    magic = raw.read(6)
    raw.seek(0)
    return magic.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"))
