# SPDX-License-Identifier: Apache-2.0
"""Checks every record of a stream against its SCHEMA, at the price of a decoder's call.

A record that the compiled decoder takes is right. Only one that it refuses is walked through, to
tell what deviates; the walk decides, so the decoder may be stricter than the schema.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter
from typing import Any, Final

from ipai_kit.bronze import (
    UNPICKABLE,
    Extract,
    RecordRejectedError,
    RejectionReason,
    Row,
    StreamPlan,
    compile_extract,
    key_text,
    sortable_cursor,
)
from ipai_kit.bronze_block import (
    BlockDecoder,
    BlockExtract,
    compile_block_extract,
    leave_alone,
)
from ipai_kit.landing.deviations import (
    LAWFUL,
    UNREADABLE,
    find_deviations,
    find_news,
    read_exactly,
    read_members,
)
from ipai_kit.landing.drift import Drift
from ipai_kit.landing.events import EventLog
from ipai_kit.landing.record_shape import Shape, record_shape
from ipai_kit.landing.schema_rules import SchemaRules, compile_rules
from ipai_kit.landing.settings import LandingSettings
from ipai_kit.landing.shape_decoder import SIMPLE_TYPES, ShapeDecoder
from ipai_kit.singer.reader import LARGE_LINE_BYTES

RecordCheck = Callable[[bytes], object]
"""Looks at a record before it is landed; raises RecordRejectedError to bury it."""

SAMPLE: Final = 20
"""Records of each stream and batch that are searched for members the SCHEMA does not list."""
_SHOWN: Final = 5


@dataclass(frozen=True)
class StreamChecks:
    """How the records of a stream are taken apart and checked."""

    extract: Extract
    after_extract: RecordCheck | None = None
    """What `extract` does not check while it takes key and cursor."""
    take_apart: BlockExtract = leave_alone
    """Takes whole lines apart at once; None for lines that must be looked at one by one."""
    sample: Callable[[Iterable[Row]], None] | None = None
    """Looks through some rows of a batch for what no rule forbids."""


@dataclass(frozen=True)
class RecordChecks:
    """Makes the checks of a run's streams."""

    settings: LandingSettings
    events: EventLog
    drift: Drift

    def compile(self, plan: StreamPlan, schema: Mapping[str, Any]) -> StreamChecks:
        """The check of a stream, anew for every SCHEMA that differs."""
        extract = compile_extract(plan)
        hashed = not self.settings.keeps_every_version
        if self.settings.validate == "off":
            return StreamChecks(extract, take_apart=compile_block_extract(plan, hashed=hashed))
        rules = self._rules(plan, schema)
        inspection = Inspection(
            plan.stream,
            record_shape(schema, plan.key_properties),
            rules,
            extract,
            self.drift,
            lands=self.settings.on_invalid == "land",
        )
        return _compiled(plan, inspection, hashed=hashed)

    def _rules(self, plan: StreamPlan, schema: Mapping[str, Any]) -> SchemaRules | None:
        if self.settings.validate != "full":
            return None
        try:
            return compile_rules(schema)
        except ValueError as error:
            text = str(error).partition("\n")[0]
            self.events.emit(
                "schema_not_usable",
                level="warning",
                stream=plan.stream,
                error=text,
                checked="types",
            )
            return None


@dataclass(frozen=True)
class Inspection:
    """The slow look at a record, for those that the compiled check refuses."""

    stream: str
    shape: Shape
    rules: SchemaRules | None
    extract: Extract
    drift: Drift
    lands: bool

    def examine(self, record: bytes) -> tuple[bytes, str | None]:
        """Key and cursor of a record whose differences are noted; may refuse to land it."""
        key, cursor = self.extract(record)
        try:
            value = read_exactly(record)
        except UNREADABLE:
            return key, cursor  # beyond what can be checked: the store decides
        found = dict.fromkeys(find_deviations(self.shape, value))
        if self.rules is not None:
            paths = {deviation.path for deviation in found}
            found |= dict.fromkeys(self.rules.find(self.shape, value, paths))
        for deviation in found:
            self.drift.note(self.stream, deviation, key)
        if not self.lands and (wrong := [str(one) for one in found if one.kind not in LAWFUL]):
            more = f", and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
            text = "; ".join(wrong[:_SHOWN]) + more
            raise RecordRejectedError(RejectionReason.INVALID, text)
        return key, cursor

    def sample(self, rows: Iterable[Row]) -> None:
        """Note what the SCHEMA does not list in the first rows."""
        for row in islice(rows, SAMPLE):
            if len(row[1]) > LARGE_LINE_BYTES:  # its values would be as much memory again, thrice
                continue
            try:
                value = read_members(row[1])
            except UNREADABLE:
                continue
            for deviation in dict.fromkeys(find_news(self.shape, value)):
                self.drift.note(self.stream, deviation, row[0])


def _compiled(plan: StreamPlan, inspection: Inspection, *, hashed: bool) -> StreamChecks:
    extract, sample, shape = inspection.extract, inspection.sample, inspection.shape
    if inspection.rules is not None:
        blocks = compile_block_extract(plan, hashed=hashed, check=_block_check(inspection.rules))
        return StreamChecks(extract, _rule_check(inspection.rules, inspection), blocks, sample)
    if not shape.limits_members:
        blocks = compile_block_extract(plan, hashed=hashed)
        return StreamChecks(extract, None, blocks, sample)
    try:
        decoder = ShapeDecoder(shape)
    except (ValueError, TypeError):  # names that no decoder takes: every record the slow way
        return StreamChecks(extract, inspection.examine, sample=sample)
    names = _picked_names(plan, shape)
    if not (inspection.lands and names):
        blocks = compile_block_extract(plan, hashed=hashed, check=decoder.decode_lines)
        return StreamChecks(extract, _type_check(decoder, inspection), blocks, sample)
    picking = BlockDecoder(decoder.decode_lines, [decoder.attributes[name] for name in names])
    blocks = compile_block_extract(plan, hashed=hashed, decoder=picking)
    return StreamChecks(_checked_extract(names, plan, decoder, inspection), None, blocks, sample)


def _picked_names(plan: StreamPlan, shape: Shape) -> list[str]:
    """Keys and cursor, if the check of types decodes them anyway to what they are made of."""
    cursor = [plan.cursor_property] if plan.cursor_property else []
    names = [*plan.key_properties, *cursor]
    is_simple = all(
        name in shape.properties and shape.properties[name].types <= SIMPLE_TYPES for name in names
    )
    return names if plan.key_properties and is_simple else []


def _checked_extract(
    names: list[str], plan: StreamPlan, decoder: ShapeDecoder, inspection: Inspection
) -> Extract:
    """Takes key and cursor from the very values whose types were checked."""
    decode, examine = decoder.decode, inspection.examine
    get: Callable[[Any], Any] = attrgetter(*(decoder.attributes[name] for name in names))
    width = len(plan.key_properties)

    def key_alone(record: bytes) -> tuple[bytes, str | None]:
        try:
            key = get(decode(record))
        except UNPICKABLE:
            return examine(record)
        return b"[%d]" % key if type(key) is int else key_text((key,)), None

    def key_and_cursor(record: bytes) -> tuple[bytes, str | None]:
        try:
            key, cursor = get(decode(record))
        except UNPICKABLE:
            return examine(record)
        text = b"[%d]" % key if type(key) is int else key_text((key,))
        return text, None if cursor is None else sortable_cursor(cursor)

    def several(record: bytes) -> tuple[bytes, str | None]:
        try:
            values = get(decode(record))
        except UNPICKABLE:
            return examine(record)
        cursor = values[width] if len(names) > width else None
        return key_text(values[:width]), None if cursor is None else sortable_cursor(cursor)

    if width > 1:
        return several
    return key_and_cursor if len(names) > width else key_alone


def _type_check(decoder: ShapeDecoder, inspection: Inspection) -> RecordCheck:
    decode, examine = decoder.decode, inspection.examine

    def check(record: bytes) -> None:
        try:
            decode(record)
        except UNPICKABLE:
            examine(record)

    return check


def _rule_check(rules: SchemaRules, inspection: Inspection) -> RecordCheck:
    allow, examine = rules.allow, inspection.examine

    def check(record: bytes) -> None:
        if not allow(record):
            examine(record)

    return check


def _block_check(rules: SchemaRules) -> RecordCheck:
    """The same for a block: which record of it deviates is found out one by one."""
    allow = rules.allow

    def check(block: bytes) -> None:
        if not allow(block):
            raise RecordRejectedError(RejectionReason.INVALID, "A record of the block deviates.")

    return check
