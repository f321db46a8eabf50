# SPDX-License-Identifier: Apache-2.0
"""BATCH messages: records handed over as files of JSON lines or Parquet."""

import gzip
import importlib
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import unquote, urlsplit

import msgspec

from ipai_kit.bronze import Row, emitted_micros
from ipai_kit.bronze_block import BlockExtract
from ipai_kit.exceptions import ConfigurationError
from ipai_kit.landing.parquet_rows import exact_rows
from ipai_kit.singer.reader import (
    BLOCK_BYTES,
    NUL_ESCAPE,
    DecodedBlock,
    InputError,
    LineBlocks,
    Message,
)

JSONL: Final = "jsonl"
PARQUET: Final = "parquet"
_PARQUET_ROWS: Final = 1_000
_BUFFER_BYTES: Final = 1 << 20
"""Without a buffer whole columns of a row group are read ahead: 50 MB more, a tenth slower."""
_encode_lines = msgspec.json.Encoder(decimal_format="number").encode_lines


@dataclass(frozen=True)
class BatchFile:
    """One file of a BATCH message; its records were emitted when it was written."""

    path: Path
    format: str
    compression: str | None
    emitted: int
    stream: str
    line: int
    """Where the input names it."""


def find_files(message: Message, line: int) -> list[BatchFile]:
    """The files of a BATCH message, in order."""
    encoding, manifest = _decoded(message, line)
    form, compression = str(encoding.get("format")), encoding.get("compression")
    if form not in {JSONL, PARQUET}:
        text = f"Line {line} of the input is a BATCH of the unknown format {form!r}."
        raise InputError(text, stream=message.stream, next_step="Use jsonl or parquet.")
    files = []
    for address in manifest:
        path = _local_path(address, message.stream, line)
        try:
            written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        except OSError as error:
            reason = error.strerror or str(error)
            raise _unreadable(path, message.stream, line, reason) from error
        written_at = emitted_micros(written)
        files.append(BatchFile(path, form, compression, written_at, message.stream, line))
    return files


def read_blocks(file: BatchFile) -> Iterator[bytes]:
    """Blocks of whole lines, one record each; only the last may lack its newline."""
    try:
        yield from _read_parquet(file) if file.format == PARQUET else _read_lines(file)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise _unreadable(file.path, file.stream, file.line, reason) from error


def take_apart(
    file: BatchFile, extract: BlockExtract, message: Message, line: int
) -> Iterator[list[Row] | DecodedBlock]:
    """The records of a file, block by block: as rows, or as messages where a block is unusual."""
    for block in read_blocks(file):
        has_nul = NUL_ESCAPE in block
        columns = None if has_nul else extract(block)
        if columns is not None:
            yield columns.rows(repeat(file.emitted))
            continue
        records = [
            Message("RECORD", message.stream, msgspec.Raw(record), version=message.version)
            for text in block.split(b"\n")
            if (record := text.strip())
        ]
        yield DecodedBlock(records, [line] * len(records), has_nul)


def _unreadable(path: Path, stream: str, line: int, reason: str) -> InputError:
    text = f"File {path.name!r} of a BATCH cannot be read (line {line} of the input): {reason}."
    step = "Target and tap must see the same files until the run ends."
    return InputError(text, stream=stream, next_step=step)


def _decoded(message: Message, line: int) -> tuple[dict[str, Any], list[Any]]:
    encoding = msgspec.json.decode(message.encoding) if message.encoding else None
    manifest = msgspec.json.decode(message.manifest) if message.manifest else None
    if not isinstance(encoding, dict) or not isinstance(manifest, list):
        text = f"Line {line} of the input is a BATCH without an encoding or a manifest."
        raise InputError(text, stream=message.stream, next_step="Look at the tap.")
    return encoding, manifest


def _local_path(address: Any, stream: str, line: int) -> Path:
    parts = urlsplit(str(address))
    if parts.scheme not in {"", "file"}:
        text = (
            f"Line {line} of the input is a BATCH that points to {parts.scheme!r} storage;"
            " this target reads local files."
        )
        raise ConfigurationError(
            text, stream=stream, next_step="Set the tap's storage root to file://."
        )
    return Path(unquote(parts.path))


def _read_lines(file: BatchFile) -> Iterator[bytes]:
    open_file = _OPENERS.get(file.compression)
    if open_file is None:
        text = f"Line {file.line} of the input is a BATCH compressed by {file.compression!r}."
        raise InputError(text, stream=file.stream, next_step="Use gzip, zstd or none.")
    lines = LineBlocks()
    with open_file(file.path) as source:
        for chunk in iter(partial(source.read, BLOCK_BYTES), b""):
            block = lines.feed(chunk)
            if block is not None:
                yield block
    if rest := lines.rest():
        yield rest


def _read_parquet(file: BatchFile) -> Iterator[bytes]:
    parquet = _arrow("pyarrow.parquet", "in Parquet format")
    try:
        with parquet.ParquetFile(file.path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as parts:
            for part in parts.iter_batches(batch_size=_PARQUET_ROWS):
                yield _encode_lines(exact_rows(part))
    except _arrow("pyarrow", "in Parquet format").ArrowException as error:
        raise _unreadable(file.path, file.stream, file.line, type(error).__name__) from error


def _open_plain(path: Path) -> BinaryIO:
    return path.open("rb", buffering=0)


def _open_gzip(path: Path) -> Any:
    return gzip.open(path)


def _open_zstd(path: Path) -> Any:
    return _arrow("pyarrow", "compressed by zstd").input_stream(path, compression="zstd")


def _arrow(module: str, what: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        text = f"A BATCH {what} needs the extra 'parquet'."
        step = "Install pyarrow beside the target."
        raise ConfigurationError(text, next_step=step) from error


_OPENERS: Final[Mapping[str | None, Callable[[Path], Any]]] = {
    None: _open_plain,
    "none": _open_plain,
    "gzip": _open_gzip,
    "zstd": _open_zstd,
}
