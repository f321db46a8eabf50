# SPDX-License-Identifier: Apache-2.0
"""Reads one column of a JDBC result exactly; each reader takes (result, place) and gives a value.

Older classes of `java.sql` shift days before 1582 and cut fractions: `java.time` is asked first,
the driver's own text second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jpype  # type: ignore[import-untyped]
import jpype.dbapi2  # type: ignore[import-untyped]

from ipai_kit.sql.dialects.values import base64_text, exact_json, finite, short_float

__all__ = ["READERS", "Reader"]

Reader: TypeAlias = Callable[[Any, int], Any]


def _text(result: Any, place: int) -> str | None:
    value = result.getString(place)
    return None if value is None else str(value)


def _integer(result: Any, place: int) -> int | None:
    value = result.getString(place)
    return None if value is None else int(str(value))


def _decimal(result: Any, place: int) -> str | None:
    try:
        value = result.getBigDecimal(place)
    except jpype.dbapi2.Error:  # NaN and infinity, where a database has them
        return _text(result, place)
    return None if value is None else str(value.toPlainString())


def _double(result: Any, place: int) -> Any:
    value = float(result.getDouble(place))
    return None if value == 0.0 and result.wasNull() else finite(value)


def _single(result: Any, place: int) -> Any:
    value = float(result.getDouble(place))
    return None if value == 0.0 and result.wasNull() else short_float(value)


def _boolean(result: Any, place: int) -> bool | None:
    value = bool(result.getBoolean(place))
    return None if not value and result.wasNull() else value


def _moment(name: str, write: Callable[[Any], str]) -> Reader:
    def read(result: Any, place: int) -> str | None:
        try:
            value = result.getObject(place, jpype.JClass(f"java.time.{name}").class_)
        except (jpype.dbapi2.Error, jpype.JException):  # a driver older than JDBC 4.2
            return _text(result, place)
        return None if value is None else write(value)

    return read


def _local(value: Any) -> str:
    return _with_seconds(str(value.toString()))


def _utc(value: Any) -> str:
    zone = jpype.JClass("java.time.ZoneOffset").UTC
    return _local(value.withOffsetSameInstant(zone).toLocalDateTime()) + "+00:00"


def _with_seconds(text: str) -> str:
    """Java leaves out seconds that are zero: `2020-01-01T10:00`."""
    return f"{text}:00" if text.count(":") == 1 else text


def _bytes(result: Any, place: int) -> str | None:
    value = result.getBytes(place)
    return None if value is None else base64_text(bytes(value))


def _blob(result: Any, place: int) -> str | None:
    try:
        value = result.getBlob(place)
    except (jpype.dbapi2.Error, jpype.JException):
        return _bytes(result, place)
    if value is None:
        return None
    length = int(value.length())
    return base64_text(bytes(value.getBytes(1, length))) if length else ""


def _json(result: Any, place: int) -> Any:
    value = result.getString(place)
    return None if value is None else exact_json(str(value))


def _array(result: Any, place: int) -> Any:
    value = result.getArray(place)
    return None if value is None else [_element(one) for one in value.getArray()]


def _element(value: Any) -> Any:
    """Return an element of an array by the class that Java gives it."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, jpype.JArray):
        if type(value) is jpype.JArray(jpype.JByte):
            return base64_text(bytes(value))
        return [_element(one) for one in value]
    name = type(value).__name__
    if name in ("java.lang.Long", "java.lang.Integer", "java.lang.Short", "java.lang.Byte"):
        return int(value)
    if name == "java.lang.Boolean":
        return bool(value)
    if name == "java.lang.Double":
        return finite(float(value))
    if name == "java.lang.Float":
        return short_float(float(value))
    if name == "java.math.BigDecimal":
        return str(value.toPlainString())
    if name == "java.time.OffsetDateTime":
        return _utc(value)
    if name == "java.time.LocalDateTime":
        return _local(value)
    return _element(value.getArray()) if hasattr(value, "getArray") else str(value.toString())


READERS: Mapping[str, Reader] = {
    "integer": _integer,
    "decimal": _decimal,
    "single": _single,
    "double": _double,
    "boolean": _boolean,
    "bits": _text,
    "date": _moment("LocalDate", lambda value: str(value.toString())),
    "timestamp": _moment("LocalDateTime", _local),
    "timestamptz": _moment("OffsetDateTime", _utc),
    "text": _text,
    "time": _text,
    "clob": _text,
    "binary": _bytes,
    "blob": _blob,
    "uuid": _text,
    "array": _array,
    "json": _json,
    "other": _text,
}
"""By the keys of JDBC_RULES; BLOB has a reader of its own."""
