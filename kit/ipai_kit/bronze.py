# SPDX-License-Identifier: Apache-2.0
"""The Bronze contract, shared by every target: key, cursor, time and hash of a delivered record.

Nothing here touches a database. A record stays the bytes that were delivered; only the members that
make its key and its cursor are decoded. Texts made here sort by code point (collation "C") exactly
as their values do, so that "older" means the same in Python, in Postgres and in Parquet.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, InvalidOperation
from enum import StrEnum
from operator import attrgetter
from typing import Any, Final

import msgspec


class RejectionReason(StrEnum):
    """Why a record cannot be landed."""

    MISSING_KEY = "missing_key"
    NULL_KEY = "null_key"
    NOT_AN_OBJECT = "not_an_object"
    INVALID_JSON = "invalid_json"
    INVALID_ENCODING = "invalid_encoding"
    NUL_CHARACTER = "nul_character"
    NUMBER_OUT_OF_RANGE = "number_out_of_range"
    REJECTED_BY_SERVER = "rejected_by_server"
    RECORD_BEFORE_SCHEMA = "record_before_schema"
    INVALID = "invalid"
    REJECTED_BY_TAP = "rejected_by_tap"


Extract = Callable[[bytes], tuple[bytes, str | None]]
Row = tuple[bytes, bytes, int, str | None, bytes]
"""What a target buffers: (record_key, record, emitted_at in µs since 2000, cursor, record_hash)."""

DELETED_AT: Final = "_sdc_deleted_at"
"""Member of a record, listed in its SCHEMA: not null once the source deleted the record."""

MAX_KEY_BYTES: Final = 2000
"""Longer keys are replaced by their hash: a B-tree entry of Postgres holds 2,704 bytes."""

_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_FIRST_MOMENT: Final = (datetime(1, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LAST_DAY: Final = (datetime(9999, 12, 31, tzinfo=UTC) - _EPOCH) // _MICROSECOND
_EXACT: Final = Context(prec=200_000, Emax=MAX_EMAX, Emin=MIN_EMIN)
_LARGEST_EXPONENT: Final = 131_072
_INTEGER_DIGITS: Final = 20
_LONG_PREFIX: Final = "~"
_COMPLEMENT: Final = str.maketrans("0123456789~", "9876543210!")
_TIMESTAMP: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2})(:[0-9]{2})?(?:[.,]([0-9]+))?"
    r"(?:([Zz])|([+-][0-9]{2}):?([0-9]{2})?)?"
)
_NUL_ESCAPE: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
UTC_SECONDS_MARKS: Final = "--T::Z"
UTC_SECONDS_LENGTH: Final = len("2024-01-31T00:00:00Z")
PLAIN_KEYS: Final = frozenset((int, str))

_ESCAPED_NAME: Final = re.compile(r'["\\\x00-\x1f]')

new_record_hash: Final = hashlib.blake2b(digest_size=8).copy
"""A copy of an empty hash costs a quarter less than a new one."""

NO_HASH: Final = bytes(8)
"""Where every version is kept nothing is compared, and nothing hashed."""

_encode = msgspec.json.Encoder(order="deterministic", decimal_format="number").encode
_decode_exactly = msgspec.json.Decoder(float_hook=Decimal).decode


class RecordRejectedError(ValueError):
    """This record cannot be landed; it goes to the dead letters with its bytes."""

    def __init__(self, reason: RejectionReason, error: str) -> None:
        self.reason: RejectionReason = reason
        self.error = error
        super().__init__(error)


@dataclass(frozen=True)
class StreamPlan:
    """What a SCHEMA message says about landing a stream."""

    stream: str
    source: str
    domain: str
    key_properties: tuple[str, ...] = ()
    cursor_property: str | None = None
    properties: frozenset[str] = frozenset()

    @property
    def marks_deletions(self) -> bool:
        """Whether records may say that they were deleted."""
        return DELETED_AT in self.properties

    def lands_like(self, other: "StreamPlan") -> bool:
        """Whether rows of both plans go to the same place under the same rules."""
        return self._place_and_rules == other._place_and_rules

    @property
    def _place_and_rules(self) -> tuple[object, ...]:
        key, cursor = self.key_properties, self.cursor_property
        return self.source, self.domain, key, cursor, self.marks_deletions


def plan_stream(
    stream: str,
    schema: Mapping[str, Any],
    *,
    key_properties: Sequence[str] | None = None,
    bookmark_properties: Sequence[str] | str | None = None,
    source: str | None = None,
    domain: str | None = None,
) -> StreamPlan:
    """Plan of a stream; `source` and `domain` given here win over the schema's `x-ipai`."""
    marks = schema.get("x-ipai")
    own: Mapping[str, Any] = marks if isinstance(marks, Mapping) else {}
    bookmarks = (
        (bookmark_properties,) if isinstance(bookmark_properties, str) else bookmark_properties
    )
    return StreamPlan(
        stream=stream,
        source=source or str(own.get("source") or "singer"),
        domain=domain or str(own.get("domain") or "core"),
        key_properties=tuple(key_properties or ()),
        cursor_property=bookmarks[0] if bookmarks else None,
        properties=frozenset(schema.get("properties") or ()),
    )


def is_decodable_name(name: str) -> bool:
    """Whether a member of this name can be picked out of a record."""
    return _ESCAPED_NAME.search(name) is None


def record_hash(record: bytes) -> bytes:
    """Eight bytes that identify the delivered bytes; a bigint in network order."""
    digest = new_record_hash()
    digest.update(record)
    return digest.digest()


def emitted_micros(moment: datetime) -> int:
    """Microseconds since 2000-01-01 UTC, the clock of Postgres' timestamptz; naive means UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - _EPOCH) // _MICROSECOND


def parse_emitted(text: str) -> int:
    """Microseconds of a `time_extracted`; raises ValueError when it is no time of our calendar."""
    micros = emitted_micros(datetime.fromisoformat(text))
    if not _FIRST_MOMENT <= micros < _LAST_DAY:
        message = f"{text!r} is in no year from 1 to 9999."
        raise ValueError(message)
    return micros


def holds_nul(record: bytes) -> bool:
    """Whether a text or name in the record has the escaped NUL character."""
    return _NUL_ESCAPE.search(record) is not None


def is_superseded(old: Row, new: Row) -> bool:
    """Whether `new` is not older than `old` by (cursor, emitted_at); null is the oldest cursor."""
    return (new[3] or "", new[2]) >= (old[3] or "", old[2])


def key_text(values: Sequence[Any]) -> bytes:
    """Canonical JSON array of the key values: 1, 1.0 and 1e0 are one key, member order is none."""
    for value in values:
        if type(value) not in PLAIN_KEYS:
            break
    else:
        return _bounded_key(_encode(values))
    if all(value is None for value in values):
        reason = "Every key property is null."
        raise RecordRejectedError(RejectionReason.NULL_KEY, reason)
    return _bounded_key(_encode([_canonical(value) for value in values]))


def content_key(record: bytes) -> bytes:
    """Key of a record without keys: the hash of its members in canonical order."""
    try:
        content = _encode(_decode_exactly(record))
    except UNPICKABLE as error:
        raise _not_json(record, error) from error
    if not content.startswith(b"{"):
        raise RecordRejectedError(RejectionReason.NOT_AN_OBJECT, _NOT_AN_OBJECT)
    return b'["%s"]' % hashlib.blake2b(content, digest_size=16).hexdigest().encode()


def compile_extract(plan: StreamPlan) -> Extract:
    """Build the function that takes key text and sortable cursor out of a record's bytes."""
    if not plan.key_properties:
        return _extract_content(plan)
    names = list(plan.key_properties)
    strict = Picker(names, [], plan.properties)
    if plan.cursor_property is None:
        pick, cursor_at = strict, None
    else:
        pick = Picker(names, [plan.cursor_property], plan.properties)
        cursor_at = len(names)
    if len(names) == 1:
        return _extract_single(pick, strict, has_cursor=cursor_at is not None)
    return _extract_many(pick, strict, cursor_at)


def sortable_cursor(value: Any) -> str:
    """Text that sorts by code point as the value sorts among values of its kind.

    Timestamps become UTC with nine decimals (no offset means UTC), dates stay, numbers get
    twenty digits before the point, negative ones complemented, any other text stays as it is.
    """
    kind: type = type(value)
    if kind is str:
        if value[4:20:3] == UTC_SECONDS_MARKS and len(value) == UTC_SECONDS_LENGTH:
            return f"{value[:19]}.000000000Z"
        match = _TIMESTAMP.fullmatch(value)
        return value if match is None else _sortable_timestamp(value, match)
    if kind is int:
        if 0 <= value < 10**_INTEGER_DIGITS:
            return f"{value:020d}"
        return _sortable_number(Decimal(value))
    if kind is Decimal:
        return _sortable_number(value)
    return _encode(value).decode()


_NOT_AN_OBJECT = "The record is not a JSON object."
_OUT_OF_RANGE = "out of range"


class Picker:
    """Decodes some members of a record, top level or dotted, and nothing else."""

    def __init__(
        self, required: list[str], optional: list[str], properties: frozenset[str]
    ) -> None:
        tree: dict[str, Any] = {}
        names = [*required, *optional]
        paths = [_member_path(name, properties) for name in names]
        self.attributes = [
            _graft(tree, path, required=position < len(required))
            for position, path in enumerate(paths)
        ]
        self.names = tuple(names)
        decoder = msgspec.json.Decoder(_struct_of(tree), float_hook=Decimal)
        self.decode, self.decode_lines = decoder.decode, decoder.decode_lines
        self.pick = attrgetter(*self.attributes)


def _member_path(name: str, properties: frozenset[str]) -> tuple[str, ...]:
    """A dotted name is a path, unless the schema has a property of exactly that name."""
    head, *rest = name.split(".")
    if not rest or name in properties or head not in properties:
        return (name,)
    return (head, *rest)


def _graft(tree: dict[str, Any], path: tuple[str, ...], *, required: bool) -> str:
    """Add a path to the tree of members to decode; returns its attribute name."""
    attribute = []
    for depth, member in enumerate(path):
        is_leaf = depth == len(path) - 1
        slot = tree.setdefault(member, {"at": f"f{len(tree)}", "required": False, "inner": {}})
        slot["required"] = slot["required"] or required
        attribute.append(slot["at"])
        if is_leaf:
            slot["leaf"] = True
        tree = slot["inner"]
    return ".".join(attribute)


def _struct_of(tree: dict[str, Any]) -> type[msgspec.Struct]:
    required: list[Any] = []
    optional: list[Any] = []
    for slot in tree.values():
        kind = _struct_of(slot["inner"]) if slot["inner"] else Any
        if slot["required"]:
            required.append((slot["at"], kind))
        else:
            optional.append((slot["at"], kind | None if slot["inner"] else Any, None))
    rename = {slot["at"]: member for member, slot in tree.items()}
    return msgspec.defstruct("Picked", required + optional, rename=rename, gc=False)


def _single_key(key: Any) -> bytes:
    return b"[%d]" % key if type(key) is int else key_text((key,))


def _extract_single(pick: Picker, strict: Picker, *, has_cursor: bool) -> Extract:
    """For one key, the usual case; the shape of most cursors is recognised without a call."""
    decode, get = pick.decode, pick.pick

    def without_cursor(record: bytes) -> tuple[bytes, str | None]:
        try:
            key = get(decode(record))
        except UNPICKABLE as error:
            raise _rejection(record, error, strict) from error
        return _single_key(key), None

    def with_cursor(record: bytes) -> tuple[bytes, str | None]:
        try:
            key, cursor = get(decode(record))
        except UNPICKABLE as error:
            return _keys_alone(record, error, strict), None
        text = b"[%d]" % key if type(key) is int else key_text((key,))
        if cursor is None:
            return text, None
        if (
            type(cursor) is str
            and cursor[4:20:3] == UTC_SECONDS_MARKS
            and len(cursor) == UTC_SECONDS_LENGTH
        ):
            return text, cursor[:19] + ".000000000Z"
        return text, sortable_cursor(cursor)

    return with_cursor if has_cursor else without_cursor


def _extract_many(pick: Picker, strict: Picker, cursor_at: int | None) -> Extract:
    decode, get = pick.decode, pick.pick

    def extract(record: bytes) -> tuple[bytes, str | None]:
        try:
            values = get(decode(record))
        except UNPICKABLE as error:
            return _keys_alone(record, error, strict), None
        cursor = None if cursor_at is None else values[cursor_at]
        return (
            key_text(values[:cursor_at]),
            None if cursor is None else sortable_cursor(cursor),
        )

    return extract


def _extract_content(plan: StreamPlan) -> Extract:
    if plan.cursor_property is None:
        return lambda record: (content_key(record), None)
    only_cursor = Picker([], [plan.cursor_property], plan.properties)

    def extract(record: bytes) -> tuple[bytes, str | None]:
        key = content_key(record)
        try:
            cursor = only_cursor.pick(only_cursor.decode(record))
        except UNPICKABLE:
            cursor = None
        return key, None if cursor is None else sortable_cursor(cursor)

    return extract


UNPICKABLE = (
    msgspec.DecodeError,
    AttributeError,
    RecursionError,
    UnicodeDecodeError,
    InvalidOperation,
)
"""What taking a record apart may raise; the last for a number that no Decimal can hold."""


def _keys_alone(record: bytes, error: Exception, strict: Picker) -> bytes:
    """The key of a record whose cursor cannot be reached (a parent of it is null or no object)."""
    try:
        values = strict.pick(strict.decode(record))
    except UNPICKABLE:
        raise _rejection(record, error, strict) from error
    return key_text(values if len(strict.names) > 1 else (values,))


def _rejection(record: bytes, error: Exception, strict: Picker) -> RecordRejectedError:
    if not bytes(record).lstrip().startswith(b"{"):
        return RecordRejectedError(RejectionReason.NOT_AN_OBJECT, _NOT_AN_OBJECT)
    is_too_big = isinstance(error, msgspec.ValidationError) and _OUT_OF_RANGE in str(error)
    if isinstance(error, msgspec.ValidationError | AttributeError) and not is_too_big:
        wanted = ", ".join(repr(name) for name in strict.names)
        error_text = f"The record lacks a key property of {wanted}."
        return RecordRejectedError(RejectionReason.MISSING_KEY, error_text)
    return _not_json(record, error)


def _not_json(record: bytes, error: Exception) -> RecordRejectedError:
    try:
        bytes(record).decode()
    except UnicodeDecodeError:
        text = "The record is not valid UTF-8."
        return RecordRejectedError(RejectionReason.INVALID_ENCODING, text)
    if isinstance(error, InvalidOperation) or _OUT_OF_RANGE in str(error):
        text = "A number of the key is beyond what can be read."
        return RecordRejectedError(RejectionReason.NUMBER_OUT_OF_RANGE, text)
    return RecordRejectedError(RejectionReason.INVALID_JSON, str(error))


def _canonical(value: Any) -> Any:
    """The value with every number in its one shortest form."""
    if isinstance(value, Decimal):
        shortest = value.normalize(_EXACT)
        if shortest == 0:
            return 0
        is_short = shortest.adjusted() < _LARGEST_EXPONENT
        exponent = shortest.as_tuple().exponent
        is_whole = isinstance(exponent, int) and exponent >= 0
        return int(shortest) if is_short and is_whole else shortest
    if isinstance(value, dict):
        return {name: _canonical(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_canonical(member) for member in value]
    return value


def _bounded_key(text: bytes) -> bytes:
    if len(text) <= MAX_KEY_BYTES:
        return text
    return b'["sha256:%s"]' % hashlib.sha256(text).hexdigest().encode()


def _sortable_timestamp(value: str, match: re.Match[str]) -> str:
    day, clock, seconds, fraction, _, hours, minutes = match.groups()
    clock += seconds or ":00"
    decimals = f"{fraction or '':0<9.9}"
    if hours is None or (hours in {"+00", "-00"} and minutes in {None, "00"}):
        return f"{day}T{clock}.{decimals}Z"
    away = timedelta(hours=int(hours), minutes=int(hours[0] + (minutes or "0")))
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}") - away
    except (ValueError, OverflowError):
        return value
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{decimals}Z".rjust(30, "0")


def _sortable_number(value: Decimal) -> str:
    if value and abs(value.adjusted()) > _LARGEST_EXPONENT:
        error = f"The cursor has an exponent of {value.adjusted()}, beyond what can be stored."
        raise RecordRejectedError(RejectionReason.NUMBER_OUT_OF_RANGE, error)
    whole, _, fraction = f"{abs(value):f}".partition(".")
    whole, fraction = whole.lstrip("0"), fraction.rstrip("0")
    if len(whole) <= _INTEGER_DIGITS:
        text = whole.zfill(_INTEGER_DIGITS)
    else:
        text = f"{_LONG_PREFIX}{len(whole):06d}{whole}"
    if fraction:
        text = f"{text}.{fraction}"
    if value >= 0:
        return text
    return f"-{text.translate(_COMPLEMENT)}~"
