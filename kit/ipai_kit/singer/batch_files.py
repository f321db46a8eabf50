# SPDX-License-Identifier: Apache-2.0
"""The lane out for much data: records in files, and BATCH messages that hand the files over.

A file gets its name when it is complete, so whoever sees the name sees the whole file. It stays
where it is: who loads it may delete it, who crashed leaves at most a `.part` behind.
"""

from __future__ import annotations

import contextlib
import gzip
import importlib
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import unquote, urlsplit

import msgspec

from ipai_kit.exceptions import ConfigurationError, InternalError
from ipai_kit.singer.parquet_columns import flat_table

__all__ = ["BATCH_SETTING", "BatchFolder", "HandedFile", "batch_folder"]

BATCH_SETTING: Mapping[str, Any] = {
    "type": "object",
    "title": "Batch files",
    "description": "Hand records over in files: encoding {format, compression}, "
    "storage {root, prefix}, batch_size.",
    "properties": {
        "encoding": {
            "type": "object",
            "properties": {
                "format": {"type": "string", "enum": ["jsonl", "parquet"]},
                "compression": {"type": ["string", "null"], "enum": ["gzip", "zstd", "none", None]},
            },
        },
        "storage": {
            "type": "object",
            "properties": {
                "root": {"type": "string"},
                "prefix": {"type": ["string", "null"]},
            },
            "required": ["root"],
        },
        "batch_size": {"type": "integer", "minimum": 1},
    },
    "required": ["storage"],
}

_DEFAULT_ROWS = 100_000
_BUFFER_BYTES = 1 << 18
_SUFFIXES = {"gzip": ".gz", "zstd": ".zst", "none": ""}
_UNSAFE = re.compile(r"[^\w.-]")

_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True)
class HandedFile:
    """A complete file that a stream has made by itself, e.g. out of a database's COPY."""

    path: Path
    records: int
    latest: Any = None
    """The highest value of the replication key in it."""
    format: str = "jsonl"
    compression: str = "none"


@dataclass
class _OpenFile:
    """A file under way; `rows` wait for formats that are written whole."""

    path: Path
    out: BinaryIO | None
    count: int = 0
    rows: list[Any] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)
    writer: Any = None
    """What writes columns as they come."""

    @property
    def part(self) -> Path:
        return self.path.with_name(f".{self.path.name}.part")


def batch_folder(config: Mapping[str, Any], tap_name: str) -> BatchFolder | None:
    """The folder that the setting `batch_config` asks for, if it is set."""
    raw = config.get("batch_config")
    if not raw:
        return None
    encoding, storage = raw.get("encoding") or {}, raw.get("storage") or {}
    return BatchFolder(
        root=_local_folder(str(storage.get("root") or "")),
        prefix=f"{storage.get('prefix') or ''}{tap_name}",
        format=encoding.get("format") or "jsonl",
        compression=encoding.get("compression") or "none",
        rows=raw.get("batch_size") or _DEFAULT_ROWS,
    )


@dataclass
class BatchFolder:
    """Where a tap puts files of records, one open file for each stream."""

    root: Path
    prefix: str
    format: str = "jsonl"
    compression: str = "none"
    rows: int = _DEFAULT_ROWS
    column_types: dict[str, Mapping[str, str]] = field(default_factory=dict)
    """By stream, what its columns are in Arrow: its lines become Parquet without dicts."""
    _open: dict[tuple[str, int | None], _OpenFile] = field(default_factory=dict)

    def add_lines(self, stream: str, lines: bytes, count: int, version: int | None) -> bool:
        """Add JSON lines to the file of a stream; says whether it is full."""
        file = self._file(stream, version)
        if file.out is None and stream in self.column_types:
            file.lines.append(lines)
        elif file.out is None:
            file.rows += [_decode(line) for line in lines.splitlines()]
        else:
            file.out.write(lines)
        file.count += count
        return file.count >= self.rows

    def add_rows(self, stream: str, rows: Sequence[Any], version: int | None) -> bool:
        """Add Python values to the file of a stream; says whether it is full."""
        file = self._file(stream, version)
        file.rows += rows
        file.count += len(rows)
        return file.count >= self.rows

    def add_columns(self, stream: str, batch: Any, version: int | None) -> bool:
        """Add a record batch of Arrow to the file of a stream; says whether it is full."""
        file = self._file(stream, version)
        if file.writer is None:
            parquet = _arrow("pyarrow.parquet", "Parquet")
            file.writer = parquet.ParquetWriter(file.part, batch.schema, **self._parquet_options)
        file.writer.write_batch(batch)
        file.count += batch.num_rows
        return file.count >= self.rows

    def finish(self, stream: str | None = None) -> Iterator[tuple[str, int | None, HandedFile]]:
        """Complete the files of a stream, or all; yields stream, version and file."""
        for key in [key for key in self._open if stream in {None, key[0]}]:
            file = self._open[key]
            if file.out is None:
                self._write_parquet(file, self.column_types.get(key[0], {}))
            else:
                file.out.close()
            file.part.replace(file.path)
            del self._open[key]
            yield *key, HandedFile(file.path, file.count, None, self.format, self.compression)

    @contextlib.contextmanager
    def create(self, stream: str) -> Iterator[tuple[BinaryIO, Path]]:
        """Write a file of a stream by hand; it has its name after the block, if that succeeds."""
        file = self._new_file(stream)
        try:
            with self._opened(file.part) as out:
                yield out, file.path
            file.part.replace(file.path)
        finally:
            file.part.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove what is not complete."""
        for file in self._open.values():
            for one in (file.out, file.writer):
                if one is not None:
                    one.close()
            file.part.unlink(missing_ok=True)
        self._open.clear()

    def _file(self, stream: str, version: int | None) -> _OpenFile:
        file = self._open.get((stream, version))
        if file is None:
            file = self._open[stream, version] = self._new_file(stream)
            if self.format != "parquet":
                file.out = self._opened(file.part)
        return file

    def _new_file(self, stream: str) -> _OpenFile:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"Setting 'batch_config' names the folder {str(self.root)!r}: {error}."
            raise ConfigurationError(message, next_step="Set another storage root.") from error
        suffix = ".parquet" if self.format == "parquet" else f".jsonl{_SUFFIXES[self.compression]}"
        name = f"{self.prefix}--{_UNSAFE.sub('_', stream)}-{uuid.uuid4().hex}{suffix}"
        return _OpenFile(self.root / name, None)

    def _opened(self, path: Path) -> BinaryIO:
        if self.compression == "gzip":
            return cast("BinaryIO", gzip.open(path, "wb", compresslevel=1))
        if self.compression == "zstd":
            arrow = _arrow("pyarrow", "zstd")
            return cast("BinaryIO", arrow.output_stream(path, compression="zstd"))
        return path.open("wb", buffering=_BUFFER_BYTES)

    @property
    def _parquet_options(self) -> dict[str, Any]:
        # Dictionaries would take as long as all the rest, for a file that is read once.
        return {"compression": self.compression, "use_dictionary": False}

    def _write_parquet(self, file: _OpenFile, types: Mapping[str, str]) -> None:
        arrow, parquet = _arrow("pyarrow", "Parquet"), _arrow("pyarrow.parquet", "Parquet")
        try:
            tables = [flat_table(b"".join(file.lines), types)] if file.lines else []
            if file.rows or not (tables or file.writer):
                tables.append(arrow.Table.from_pylist(file.rows))
            if file.writer is not None:
                for table in tables:
                    file.writer.write_table(table)
                file.writer.close()
                return
            table = arrow.concat_tables(tables, promote_options="default")
            parquet.write_table(table, file.part, **self._parquet_options)
        except (arrow.ArrowException, OverflowError) as error:
            text = f"Records do not fit into the columns of a Parquet file: {error}."
            raise InternalError(text, next_step="Set the format 'jsonl'.") from error


def _local_folder(root: str) -> Path:
    parts = urlsplit(root)
    if not root or parts.scheme not in {"", "file"}:
        message = f"Setting 'batch_config' has the storage root {root!r}, which is no local folder."
        raise ConfigurationError(message, next_step="Use a path or file:///path.")
    return Path(unquote(parts.path) if parts.scheme else root).resolve()


def _arrow(module: str, what: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        text = f"Batch files in {what} need pyarrow, which is not installed."
        raise ConfigurationError(text, next_step="Install it, or use jsonl and gzip.") from error
