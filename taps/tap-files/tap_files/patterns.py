# SPDX-License-Identifier: Apache-2.0
"""The setting `files`: one entry is one stream, a pattern of files and how to read them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from ipai_kit.bronze import is_decodable_name
from ipai_kit.exceptions import ConfigurationError
from tap_files.failures import shown

__all__ = ["FORMATS", "INVENTORY", "Format", "Pattern", "bare", "format_of", "read_patterns"]

Format = Literal["csv", "json", "jsonl", "parquet", "excel"]

INVENTORY = "files"
"""The stream of the files themselves."""
REJECTED_SUFFIX = "_rejected"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,62}")
FORMATS: Mapping[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".tab": "csv",
    ".psv": "csv",
    ".txt": "csv",
    ".json": "json",
    ".geojson": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".xlsx": "excel",
    ".xlsm": "excel",
    ".xls": "excel",
}
PACKED = (".gz", ".gzip", ".bz2", ".xz", ".zst", ".zstd", ".zip")


_OF_FILES = {"name", "path", "start_date", "append_only", "deleted_files"}
"""Settings that decide about files; the others decide about their rows."""


class Pattern(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One stream."""

    name: str
    path: str
    format: Format | None = None
    """None: by the name of each file."""
    key_properties: tuple[str, ...] = ()
    """Empty: file and line."""
    start_date: str = ""

    # -- text -------------------------------------------------------------------------------
    encoding: str = ""
    """Empty: byte order mark, else UTF-8, else what the bytes look like."""
    delimiter: str = ""
    """Empty: found in the first lines."""
    quote: str = '"'
    escape: str = ""
    header_rows: int = 1
    skip_rows: int = 0
    """Lines (CSV) or rows (Excel) above the header."""
    columns: tuple[str, ...] = ()
    """Names to use instead of the header's."""
    decimal_comma: bool = False
    null_values: tuple[str, ...] = ()
    """Texts that mean null."""
    types: Literal["infer", "text"] = "infer"
    column_types: dict[
        str, Literal["text", "integer", "number", "boolean", "date", "timestamp"]
    ] = {}
    on_mismatch: Literal["land", "reject"] = "land"
    """What becomes of a row with a value that is not of its column's type."""

    # -- other formats ----------------------------------------------------------------------
    records_path: str = ""
    """Members that lead to the records of a JSON document, joined by dots."""
    sheet: str = ""
    """Sheets of a workbook, by name or pattern; empty: the first that holds anything."""

    # -- changes ----------------------------------------------------------------------------
    append_only: bool = False
    """The files only grow: read what was added."""
    deleted_files: Literal["keep", "delete"] = "keep"
    """What becomes of the rows of a file that is gone."""

    @property
    def keyed_by_place(self) -> bool:
        """Whether a row is known by its file and line."""
        return not self.key_properties

    @property
    def reading(self) -> str:
        """What is another when rows may come out otherwise: a digest of how files are read."""
        every = msgspec.structs.asdict(self)
        settings = {name: value for name, value in every.items() if name not in _OF_FILES}
        content = msgspec.json.encode(settings, order="sorted")
        return hashlib.blake2b(content, digest_size=4).hexdigest()

    @property
    def rejected_stream(self) -> str:
        """The stream of the rows that cannot be read."""
        return self.name + REJECTED_SUFFIX


def read_patterns(entries: Sequence[Mapping[str, Any]], root: str = "") -> list[Pattern]:
    """Return the checked entries of the setting; relative paths start from `root`."""
    patterns: list[Pattern] = []
    for number, entry in enumerate(entries):
        place = f"files[{number}]"
        try:
            pattern = msgspec.convert(entry, Pattern, strict=False)
        except msgspec.ValidationError as error:
            raise _wrong(place, str(error).replace("`", "'")) from error
        _check(pattern, place, {one.name for one in patterns})
        patterns.append(msgspec.structs.replace(pattern, path=_joined(root, pattern.path)))
    return patterns


def _check(pattern: Pattern, place: str, taken: set[str]) -> None:
    if not _NAME.fullmatch(pattern.name):
        raise _wrong(place, f"the name {pattern.name!r} is no stream name")
    if pattern.name in taken or pattern.name == INVENTORY:
        raise _wrong(place, f"the name {pattern.name!r} is taken")
    if any(pattern.name in {one, one + REJECTED_SUFFIX} for one in taken):
        raise _wrong(place, f"the name {pattern.name!r} is that of another stream's rejected rows")
    if not pattern.path:
        raise _wrong(place, "'path' is empty")
    for name in ("delimiter", "quote", "escape"):
        if len(getattr(pattern, name)) > 1:
            raise _wrong(place, f"{name!r} is longer than one character")
    for name in ("header_rows", "skip_rows"):
        if getattr(pattern, name) < 0:
            raise _wrong(place, f"{name!r} is negative")
    for key in pattern.key_properties:
        if not is_decodable_name(key):
            raise _wrong(place, f"the key {key!r} holds a quote, backslash or control character")
    if pattern.deleted_files == "delete" and not pattern.keyed_by_place:
        text = "'deleted_files' is 'delete', which needs rows known by file and line"
        raise _wrong(place, f"{text}, without 'key_properties'")
    if pattern.append_only and pattern.format not in {None, "csv", "jsonl"}:
        raise _wrong(place, f"'append_only' is not for {pattern.format!r}")


def _wrong(place: str, text: str) -> ConfigurationError:
    message = f"Setting {place!r} is wrong: {text}."
    return ConfigurationError(message, next_step="See the README of tap-files.")


def _joined(root: str, path: str) -> str:
    if not root or path.startswith(("/", "~")) or urlsplit(path).scheme:
        return path
    return f"{root.rstrip('/')}/{path}"


def bare(path: str) -> str:
    """Return a path without the query that an address on a web server may have."""
    is_address = path.startswith(("http://", "https://"))
    return path.partition("?")[0] if is_address else path


def format_of(path: str, pattern: Pattern) -> Format:
    """Return the format of a file by the setting, else by its name."""
    if pattern.format:
        return pattern.format
    name = bare(path).rsplit("/", 1)[-1].lower()
    for suffix in PACKED:
        name = name.removesuffix(suffix)
    found = FORMATS.get("." + name.rpartition(".")[2])
    if found is None:
        message = f"The name of {shown(path)!r} does not tell its format."
        known = ", ".join(sorted(set(FORMATS.values())))
        raise ConfigurationError(
            message, stream=pattern.name, next_step=f"Set 'format' to one of: {known}."
        )
    return found
