# SPDX-License-Identifier: Apache-2.0
"""Parquet: values exact, by the contract that SQL sources keep too (docs/files.md)."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from tap_files.durations import duration_text
from tap_files.exceptions import UnreadableFileError
from tap_files.headers import distinct_names
from tap_files.rows import Row

__all__ = ["parquet_schema", "read_parquet"]

_BATCH = 4096
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_NOT_FINITE = {math.inf: "Infinity", -math.inf: "-Infinity"}


def read_parquet(content: BinaryIO, skip: int = 0) -> Iterator[Row]:
    """Yield the rows after the first `skip`; whole row groups below that are not read."""
    file = _opened(content)
    number = 0
    groups: list[int] = []
    for index in range(file.num_row_groups):
        rows = file.metadata.row_group(index).num_rows
        if not groups and number + rows <= skip:
            number += rows
        else:
            groups.append(index)
    try:
        for names, columns in _batches(content, file, groups):
            for cells in zip(*columns, strict=True) if columns else ():
                number += 1
                if number > skip:
                    yield number, dict(zip(names, cells, strict=True))
    except (pa.ArrowException, OSError) as error:
        if _is_of_the_store(error):
            raise
        message = f"Row {number + 1} or one after it cannot be read: {error}."
        raise UnreadableFileError(message, next_step="Deliver the file anew.") from error


def parquet_schema(content: BinaryIO) -> dict[str, dict[str, Any]]:
    """Return the JSON Schema of each column."""
    schema = _opened(content).schema_arrow
    return dict(zip(distinct_names(schema.names), map(_property, schema.types), strict=True))


def _batches(
    content: BinaryIO, file: pq.ParquetFile, groups: list[int]
) -> Iterator[tuple[list[str], list[list[Any]]]]:
    """Yield names and columns of values."""
    names = distinct_names(file.schema_arrow.names)
    batches = file.iter_batches(_BATCH, row_groups=groups)
    if not any(one.physical_type == "INT96" for one in _leaves(file)):
        yield from ((names, [_values(column) for column in batch]) for batch in batches)
        return
    coarse = _opened(content, coerce_int96_timestamp_unit="us")
    for fine, rough in zip(batches, coarse.iter_batches(_BATCH, row_groups=groups), strict=True):
        yield names, [_old_times(*pair) for pair in zip(fine, rough, strict=True)]


def _leaves(file: pq.ParquetFile) -> Iterator[pq.ColumnSchema]:
    yield from (file.schema.column(place) for place in range(len(file.schema)))


def _old_times(fine: pa.Array, rough: pa.Array) -> list[Any]:
    """Values of the 12-byte times that older programs write, read to nano- and to microseconds.

    Arrow's nanoseconds wrap around before 1677 and after 2262: there the microseconds are right.
    """
    if fine.type == rough.type:
        return _values(fine)
    cut = fine.cast(rough.type, safe=False)
    if not pa.types.is_timestamp(fine.type):
        return _values(fine if cut.equals(rough) else rough)
    wrapped = pc.not_equal(cut, rough).to_pylist()
    pairs = zip(_values(fine), _values(rough), wrapped, strict=True)
    return [second if is_wrapped else first for first, second, is_wrapped in pairs]


def _opened(content: BinaryIO, **options: Any) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(content, **options)
    except (pa.ArrowException, OSError) as error:
        if _is_of_the_store(error):
            raise
        message = f"It is no Parquet file: {error}."
        raise UnreadableFileError(message, next_step="Deliver it anew.") from error


def _is_of_the_store(error: Exception) -> bool:
    """Arrow tells damage by a bare OSError; those of stores have a number or a class."""
    if not isinstance(error, OSError):
        return False
    return error.errno is not None or type(error) is not OSError


def _property(kind: pa.DataType) -> dict[str, Any]:
    """Return the schema of the values that `_values` makes of a type."""
    types = pa.types
    if isinstance(kind, pa.Bool8Type):
        return {"type": ["null", "boolean"]}
    if types.is_dictionary(kind):
        return _property(kind.value_type)
    if types.is_boolean(kind):
        return {"type": ["null", "boolean"]}
    if types.is_integer(kind):
        return {"type": ["null", "integer"]}
    if types.is_floating(kind):
        return {"type": ["null", "number", "string"]}
    if types.is_decimal(kind):
        return {"type": ["null", "string"], "format": "x-singer.decimal"}
    if types.is_date(kind):
        return {"type": ["null", "string"], "format": "date"}
    if types.is_timestamp(kind):
        zoned = {"format": "date-time"} if kind.tz else {}
        return {"type": ["null", "string"], **zoned}
    if _is_binary(kind):
        return {"type": ["null", "string"], "contentEncoding": "base64"}
    if types.is_struct(kind):
        fields = {field.name: _property(field.type) for field in kind}
        return {"type": ["null", "object"], "properties": fields}
    if types.is_map(kind):
        return {"type": ["null", "object", "array"]}
    if types.is_nested(kind):
        return {"type": ["null", "array"], "items": _property(kind.value_type)}
    return {"type": ["null", "string"]}


def _values(column: pa.Array) -> list[Any]:
    """Return the values of an array as JSON has them; nested ones too."""
    kind = column.type
    types = pa.types
    if types.is_dictionary(kind):
        return _values(column.dictionary_decode())
    if types.is_float16(kind):
        return _values(column.cast(pa.float32()))
    if types.is_decimal(kind):
        return _mapped(column, lambda value: f"{value:f}")
    if types.is_floating(kind):
        return _mapped(column, _number)
    if types.is_timestamp(kind):
        return _timestamps(column)
    if _is_binary(kind):
        return _mapped(column, lambda value: base64.b64encode(value).decode())
    if types.is_struct(kind):
        return _structs(column)
    if types.is_map(kind):
        return _maps(column)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _lists(column)
    if types.is_date(kind):
        return _texts(column.cast(pa.date32()))
    if types.is_time(kind) or types.is_interval(kind):
        return _texts(column)
    if types.is_duration(kind):
        per_second = _PER_SECOND[kind.unit]
        return _mapped(column.cast(pa.int64()), lambda value: duration_text(value, per_second))
    values: list[Any] = column.to_pylist()
    return values


def _is_binary(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_fixed_size_binary(kind)
        or types.is_binary_view(kind)
    )


def _mapped(column: pa.Array, change: Callable[[Any], Any]) -> list[Any]:
    return [None if value is None else change(value) for value in column.to_pylist()]


def _number(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return _NOT_FINITE.get(value, "NaN")


def _texts(column: pa.Array) -> list[Any]:
    values: list[Any] = pc.cast(column, pa.string()).to_pylist()
    return values


def _timestamps(column: pa.Array) -> list[Any]:
    """ISO text to the last digit that is stored; with a zone in UTC."""
    zone = column.type.tz
    plain = column.cast(pa.timestamp(column.type.unit)) if zone else column
    texts = _texts(plain)
    suffix = "+00:00" if zone else ""
    return [None if text is None else text.replace(" ", "T", 1) + suffix for text in texts]


def _structs(column: pa.StructArray) -> list[Any]:
    names = [field.name for field in column.type]
    parts = [_values(part) for part in column.flatten()]
    valid = column.is_valid().to_pylist()
    rows = zip(*parts, strict=True) if parts else iter([()] * len(column))
    return [
        dict(zip(names, cells, strict=True)) if there else None
        for there, cells in zip(valid, rows, strict=True)
    ]


def _lists(column: Any) -> list[Any]:
    sizes = pc.list_value_length(column).to_pylist()
    values = iter(_values(column.flatten()))
    return [None if size is None else [next(values) for _ in range(size)] for size in sizes]


def _maps(column: pa.MapArray) -> list[Any]:
    """Objects where the keys are text and come once; else arrays of pairs."""
    entries = pa.ListArray.from_arrays(column.offsets, column.keys), column.items
    keys, items = _values(entries[0].values), _values(entries[1])
    offsets = column.offsets.to_pylist()
    valid = column.is_valid().to_pylist()
    found: list[Any] = []
    for place, there in enumerate(valid):
        part = slice(offsets[place], offsets[place + 1])
        pairs = list(zip(keys[part], items[part], strict=True))
        found.append(_object_of(pairs) if there else None)
    return found


def _object_of(pairs: list[tuple[Any, Any]]) -> Mapping[str, Any] | list[dict[str, Any]]:
    if all(isinstance(key, str) for key, _ in pairs) and len(dict(pairs)) == len(pairs):
        return dict(pairs)
    return [{"key": key, "value": value} for key, value in pairs]
