# SPDX-License-Identifier: Apache-2.0
"""The rules that every tap keeps, checked against its spec and its own stand-in.

def test_keeps_the_rules_of_every_connector():
    assert connector_conformance(TapJira) == []
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

import jsonschema
from singer_sdk import Stream, Tap

from ipai_kit.spec import (
    ConnectorSpec,
    InstalledConnector,
    SpecError,
    StreamSpec,
    discover_connectors,
    secret_values,
)
from ipai_kit.spec.discovery import CONNECTOR_GROUP, SANDBOX_GROUP
from ipai_kit.testing.runs import TapRun, run_tap, selecting
from ipai_kit.testing.sandboxes import SandboxUrl, running_sandbox

_SHOWN = 3
# The pace of the public API is not what is judged here; the stand-in bears far more.
_UNHURRIED = {"requests_per_second": 500}


@dataclass(frozen=True, slots=True)
class _Broken:
    """A rule that does not hold, for one stream or for the whole connector."""

    rule: str
    text: str
    stream: str = ""

    def __str__(self) -> str:
        return (
            f"{self.rule}:{self.stream}: {self.text}"
            if self.stream
            else f"{self.rule}: {self.text}"
        )

    def waived_by(self, waivers: Mapping[str, str]) -> bool:
        """Whether the tap has given a reason for this."""
        return self.rule in waivers or f"{self.rule}:{self.stream}" in waivers


def connector_conformance(
    tap_class: type[Tap],
    *,
    config: Mapping[str, Any] | None = None,
    sandbox_options: Mapping[str, Any] | None = None,
    waivers: Mapping[str, str] | None = None,
) -> list[str]:
    """The rules this tap breaks, one sentence each, starting with the rule's name.

    ``waivers`` maps ``rule`` or ``rule:stream`` to the reason why it does not hold there.
    """
    connector = _installed(tap_class)
    if connector is None:
        module = tap_class.__module__
        return [f"discovery: No entry point of group {CONNECTOR_GROUP!r} leads to {module!r}."]
    try:
        spec = connector.spec()
    except SpecError as error:
        return [f"spec: {problem}" for problem in error.problems]
    broken = list(_names(tap_class, spec, connector))
    with running_sandbox(spec.source_type, **(sandbox_options or {})) as url:
        settings = {**_UNHURRIED, **url.config(), **(config or {})}
        broken += _declarations(tap_class, spec, settings)
        broken += _dry_run(tap_class, spec, settings, url)
    return [str(one) for one in broken if not one.waived_by(waivers or {})]


def _installed(tap_class: type[Tap]) -> InstalledConnector | None:
    """The connector whose spec lies in the package of the tap."""
    package = tap_class.__module__.partition(".")[0]
    connectors = discover_connectors().values()
    return next((one for one in connectors if one.spec_path.parent.name == package), None)


def _names(
    tap_class: type[Tap], spec: ConnectorSpec, found: InstalledConnector
) -> Iterator[_Broken]:
    entries = entry_points(group=CONNECTOR_GROUP)
    value = next(entry.value for entry in entries if entry.name == found.source_type)
    own_value = f"{tap_class.__module__}:{tap_class.__qualname__}"
    expected = {
        "the tap's name": (tap_class.name, spec.command),
        "the package": (tap_class.__module__.partition(".")[0], spec.module),
        "the entry point's name": (found.source_type, spec.source_type),
        "the entry point": (value, own_value),
        "the command": (found.command, spec.command),
        "the distribution": (found.distribution, spec.distribution),
    }
    for what, (actual, wanted) in expected.items():
        if actual != wanted:
            yield _Broken("names", f"{what} is {actual!r}, not {wanted!r}.")
    if spec.source_type not in {one.name for one in entry_points(group=SANDBOX_GROUP)}:
        yield _Broken("names", f"no entry point of group {SANDBOX_GROUP!r}.")


def _declarations(
    tap_class: type[Tap], spec: ConnectorSpec, settings: Mapping[str, Any]
) -> Iterator[_Broken]:
    streams = tap_class(config=dict(settings)).streams
    declared = {stream.name: stream for stream in spec.streams if not stream.discovered}
    for name in sorted(set(declared) - set(streams)):
        yield _Broken("streams", "is in the spec, but the tap does not have it.", name)
    found = {name: _found(name, stream.replication_key) for name, stream in streams.items()}
    if not _discovers(spec):
        for name in sorted(set(streams) - set(declared)):
            yield _Broken("streams", "is in the tap, but the spec does not list it.", name)
        found = {}
    for name, stream in sorted((found | declared).items()):
        if name in streams:
            yield from _stream_declaration(streams[name], stream)


def _discovers(spec: ConnectorSpec) -> bool:
    return any(stream.discovered for stream in spec.streams)


def _found(name: str, cursor: str | None = None) -> StreamSpec:
    """What would be declared of a stream that discovery finds."""
    return StreamSpec(name=name, description="", sync_mode="full_table", cursor=cursor)


def _stream_declaration(stream: Stream, declared: StreamSpec) -> Iterator[_Broken]:
    name, properties = stream.name, stream.schema.get("properties", {})
    try:
        jsonschema.Draft202012Validator.check_schema(stream.schema)
        jsonschema.Draft7Validator.check_schema(stream.schema)
    except jsonschema.SchemaError as error:
        yield _Broken("schema", f"is no JSON Schema: {error.message}", name)
    if not properties:
        yield _Broken("schema", "has no properties.", name)
    if not stream.primary_keys:
        yield _Broken("keys", "has no primary keys.", name)
    missing = [key for key in stream.primary_keys if key not in properties]
    if missing:
        yield _Broken("keys", f"has keys that its schema lacks: {', '.join(missing)}.", name)
    if stream.replication_key != declared.cursor:
        wanted = declared.cursor
        yield _Broken(
            "cursor", f"reads by {stream.replication_key!r}; the spec says {wanted!r}.", name
        )
    if declared.cursor and declared.cursor not in properties:
        yield _Broken(
            "cursor", f"has the cursor {declared.cursor!r}, which its schema lacks.", name
        )


def _dry_run(
    tap_class: type[Tap], spec: ConnectorSpec, settings: Mapping[str, Any], url: SandboxUrl
) -> Iterator[_Broken]:
    """Read everything from the stand-in and compare it with what the stand-in knows to be true."""
    catalog = selecting(tap_class(config=dict(settings)).catalog_dict, None)
    run = run_tap(tap_class, settings, catalog=catalog)
    oracle = url.streams()
    declarations = {one.name: one for one in spec.streams if not one.discovered}
    if _discovers(spec):
        declarations = {name: _found(name) for name in oracle} | declarations
    for declared in declarations.values():
        if declared.name not in oracle:
            yield _Broken("sandbox", "is unknown to the stand-in's oracle.", declared.name)
            continue
        yield from _landed(run, declared, oracle[declared.name], url.records(declared.name))
    if not run.states:
        yield _Broken("state", "the run ended without a STATE message.")
    for secret in secret_values(spec, settings):
        if secret in run.stderr:
            yield _Broken("secrets", "a secret setting shows up in the log.")


def _landed(
    run: TapRun, declared: StreamSpec, key: tuple[str, ...], truth: list[dict[str, Any]]
) -> Iterator[_Broken]:
    name = declared.name
    records = run.records.get(name, [])
    if name not in run.schemas:
        yield _Broken("run", "sent no SCHEMA message.", name)
        return
    if not truth:
        yield _Broken("sandbox", "has no record: the stand-in shows nothing of this stream.", name)
    message = run.schemas[name]
    if tuple(message["key_properties"]) != key:
        yield _Broken(
            "keys", f"has {message['key_properties']}; the stand-in says {list(key)}.", name
        )
    yield from _same_records(name, key, records, truth)
    for error in itertools.islice(_invalid(message["schema"], records), _SHOWN):
        yield _Broken(
            "schema", f"does not fit a record at {error.json_path}: {error.message[:200]}", name
        )
    yield from _quality(declared, records)


def _invalid(
    schema: dict[str, Any], records: list[dict[str, Any]]
) -> Iterator[jsonschema.ValidationError]:
    """The first error of each record that does not fit."""
    validator = jsonschema.Draft7Validator(schema)
    try:
        for record in records:
            yield from itertools.islice(validator.iter_errors(record), 1)
    except jsonschema.exceptions.UnknownType:
        return  # the schema is wrong, which is a problem of its own


def _same_records(
    name: str, key: tuple[str, ...], records: list[dict[str, Any]], truth: list[dict[str, Any]]
) -> Iterator[_Broken]:
    landed = {_key(record, key): record for record in records}
    wanted = {_key(record, key): record for record in truth}
    for problem, keys in (
        ("records are missing", [one for one in wanted if one not in landed]),
        ("records do not exist in the source", [one for one in landed if one not in wanted]),
        (
            "records differ from the source",
            [one for one in wanted if one in landed and landed[one] != wanted[one]],
        ),
    ):
        if keys:
            shown = ", ".join(map(str, keys[:_SHOWN]))
            yield _Broken("run", f"{len(keys)} {problem}, e.g. {shown}.", name)


def _key(record: Mapping[str, Any], key: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(repr(record.get(name)) for name in key)


def _quality(declared: StreamSpec, records: list[dict[str, Any]]) -> Iterator[_Broken]:
    quality = declared.quality
    if len(records) < quality.min_rows:
        yield _Broken(
            "quality", f"has {len(records)} rows, not {quality.min_rows} or more.", declared.name
        )
    for field, limit in quality.max_null_percent.items():
        empty = sum(record.get(field) is None for record in records)
        if records and 100 * empty / len(records) > limit:
            share = 100 * empty / len(records)
            yield _Broken(
                "quality", f"has {share:.1f} % nulls in {field!r}, above {limit} %.", declared.name
            )
