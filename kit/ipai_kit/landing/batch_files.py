# SPDX-License-Identifier: Apache-2.0
"""BATCH messages: records handed over as files of JSON lines or Parquet."""

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import msgspec

from ipai_kit.bronze import emitted_micros
from ipai_kit.exceptions import ConfigurationError
from ipai_kit.singer.reader import InputError, Message

_RECORDS: Final = 5_000
_NUL: Final = b"\\u0000"
_encode = msgspec.json.Encoder(decimal_format="number").encode


@dataclass(frozen=True)
class FileBatch:
    """Some records of a file; they were emitted when the file was written."""

    records: list[msgspec.Raw]
    emitted: int
    may_hold_nul: bool


def read_file_batches(message: Message) -> Iterator[FileBatch]:
    """The records of every file of a BATCH message, in order, a few at a time."""
    encoding, manifest = _decoded(message)
    read = {"jsonl": _read_lines, "parquet": _read_parquet}.get(str(encoding.get("format")))
    if read is None:
        text = f"A BATCH has the unknown format {encoding.get('format')!r}."
        raise InputError(text, stream=message.stream, next_step="Use jsonl or parquet.")
    for address in manifest:
        path = _local_path(address, message.stream)
        try:
            emitted = emitted_micros(datetime.fromtimestamp(path.stat().st_mtime, UTC))
            for records in read(path, encoding.get("compression")):
                has_nul = any(_NUL in record for record in records)
                yield FileBatch([msgspec.Raw(record) for record in records], emitted, has_nul)
        except OSError as error:
            text = f"File {path.name!r} of a BATCH cannot be read: {error.strerror or error}."
            step = "Target and tap must see the same files until the run ends."
            raise InputError(text, stream=message.stream, next_step=step) from error


def _decoded(message: Message) -> tuple[dict[str, Any], list[Any]]:
    encoding = msgspec.json.decode(message.encoding) if message.encoding else None
    manifest = msgspec.json.decode(message.manifest) if message.manifest else None
    if not isinstance(encoding, dict) or not isinstance(manifest, list):
        text = "A BATCH has no encoding or no manifest."
        raise InputError(text, stream=message.stream, next_step="Look at the tap.")
    return encoding, manifest


def _local_path(address: Any, stream: str) -> Path:
    parts = urlsplit(str(address))
    if parts.scheme not in {"", "file"}:
        text = f"A BATCH points to {parts.scheme!r} storage, this target reads local files."
        raise ConfigurationError(
            text, stream=stream, next_step="Set the tap's storage root to file://."
        )
    return Path(unquote(parts.path))


def _read_lines(path: Path, compression: str | None) -> Iterator[list[bytes]]:
    if compression not in {None, "none", "gzip"}:
        text = f"A BATCH is compressed by {compression!r}."
        raise InputError(text, next_step="Use gzip or none.")
    with gzip.open(path) if compression == "gzip" else path.open("rb") as lines:
        records: list[bytes] = []
        for line in lines:
            if record := line.strip():
                records.append(record)
            if len(records) >= _RECORDS:
                yield records
                records = []
        if records:
            yield records


def _read_parquet(path: Path, compression: str | None) -> Iterator[list[bytes]]:  # noqa: ARG001
    try:
        import pyarrow.parquet as pq  # type: ignore[import-untyped]
    except ImportError as error:
        text = "A BATCH in Parquet format needs the extra 'parquet'."
        step = "Install pyarrow beside the target."
        raise ConfigurationError(text, next_step=step) from error
    with pq.ParquetFile(path) as file:
        for part in file.iter_batches(batch_size=_RECORDS):
            yield [_encode(record) for record in part.to_pylist()]
