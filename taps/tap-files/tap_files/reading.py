# SPDX-License-Identifier: Apache-2.0
"""Rows of one file, whatever its format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from tap_files.delimited import Delimited
from tap_files.json_records import read_json_document, read_json_lines
from tap_files.keys import rows_with_keys
from tap_files.listing import SourceFile
from tap_files.parquet import read_parquet
from tap_files.patterns import Pattern, format_of
from tap_files.rows import Rejected, Row
from tap_files.workbooks import read_workbook

__all__ = ["read_rows"]


def read_rows(
    file: SourceFile,
    pattern: Pattern,
    properties: Mapping[str, Mapping[str, Any]],
    *,
    longest: int,
    skip: int = 0,
) -> Iterator[Row | Rejected]:
    """Yield the rows of a file after the first `skip`, the rejected ones among them."""
    kind = format_of(file.member or file.path, pattern)
    with file.opened(whole=kind in {"parquet", "excel"}) as content:
        rows: Iterator[Row | Rejected]
        match kind:
            case "parquet":
                rows, skip = read_parquet(content, skip), 0
            case "excel":
                rows = read_workbook(content, pattern, properties)
            case "jsonl":
                rows = read_json_lines(content, pattern, longest)
            case "json":
                rows = read_json_document(content, pattern, longest)
            case "csv":
                rows = Delimited(content, pattern, properties, longest).read()
        if not pattern.keyed_by_place:
            rows = rows_with_keys(rows, pattern)
        yield from islice(rows, skip, None)
