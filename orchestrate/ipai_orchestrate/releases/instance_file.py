# SPDX-License-Identifier: Apache-2.0
"""One instance as a reviewed file declares it, with the place of every mistake."""

import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from importlib.resources import files
from typing import Any

from ipai_kit.spec import ConnectorSpec, SpecProblem
from ipai_kit.spec.yaml_source import YamlSource, pointer_to, read_yaml
from ipai_orchestrate.exceptions import ConfigurationError
from ipai_orchestrate.instances import DEFAULT_SCHEDULE
from ipai_orchestrate.pipeline.settings import REFERENCE, refuse_literal_secrets
from ipai_orchestrate.scheduler.occurrences import Rule


@dataclass(frozen=True)
class DeclaredInstance:
    """What a file says about one instance."""

    id: str
    source_type: str
    env: str
    schedule: str | None
    status: str
    config: dict[str, Any]
    file: str
    source: YamlSource = field(repr=False, compare=False)

    @property
    def definition_id(self) -> str:
        """The definition of its connector."""
        return f"ipai_connector_{self.source_type}"

    def problem(self, pointer: str, message: str) -> SpecProblem:
        """A mistake at a place of the file."""
        return SpecProblem(*self.source.place(pointer), pointer, message, file=self.file)


def read_instance(text: str, file: str) -> tuple[DeclaredInstance | None, list[SpecProblem]]:
    """The instance a file declares; none when there are problems with its form."""
    if not text.strip():
        message = "The file is empty. Start with 'instance: <id>' and 'connector: <source type>'."
        return None, [SpecProblem(1, 1, "", message, file=file)]
    source = read_yaml(text)
    problems = list(source.problems)
    if source.value is not None:
        problems += _problems(source)
    if problems:
        return None, [replace(problem, file=file) for problem in problems]
    value = source.value
    return (
        DeclaredInstance(
            id=value["instance"],
            source_type=value["connector"],
            env=value.get("env", "dev"),
            schedule=value.get("schedule"),
            status=value.get("status", "active"),
            config=value.get("config", {}),
            file=file,
            source=source,
        ),
        [],
    )


def misfits(instance: DeclaredInstance, spec: ConnectorSpec, known: set[str]) -> list[SpecProblem]:
    """What of an instance does not fit its connector; `known` are the tap's further settings."""
    return [
        *_unknown_settings(instance, spec, known),
        *_missing_settings(instance, spec),
        *_wrong_types(instance, spec),
        *_literal_secrets(instance, spec),
        *_wrong_schedule(instance, spec),
    ]


def instance_schema() -> dict[str, Any]:
    """The JSON Schema of an instance's file, as published in `schemas/`."""
    text = files(__package__).joinpath("instance.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


@functools.cache
def _validator() -> Any:
    import jsonschema  # a fifth of a second that other commands need not wait

    return jsonschema.Draft202012Validator(instance_schema())


def _problems(source: YamlSource) -> Iterator[SpecProblem]:
    for error in _validator().iter_errors(source.value):
        pointer = "".join(pointer_to("", part) for part in error.absolute_path)
        if error.validator == "additionalProperties":
            known = error.schema["properties"]
            for key in error.instance.keys() - known.keys():
                inner = pointer_to(pointer, key)
                place = source.place(inner, of_key=True)
                yield SpecProblem(*place, inner, f"Unknown key {key!r}. {_close(key, known)}")
        elif error.validator == "required":
            name = next(one for one in error.validator_value if one not in error.instance)
            message = f"Key {name!r} is missing. {error.schema['properties'][name]['x-hint']}"
            yield SpecProblem(*source.place(pointer), pointer, message)
        else:
            message = f"{error.instance!r:.80} cannot be used here. {error.schema['x-hint']}"
            yield SpecProblem(*source.place(pointer), pointer, message)


def _unknown_settings(
    instance: DeclaredInstance, spec: ConnectorSpec, known: set[str]
) -> Iterator[SpecProblem]:
    names = spec.settings.keys() | known
    for name in instance.config.keys() - names:
        message = f"Connector {spec.source_type!r} has no setting {name!r}. {_close(name, names)}"
        yield instance.problem(pointer_to("/config", name), message)


def _missing_settings(instance: DeclaredInstance, spec: ConnectorSpec) -> Iterator[SpecProblem]:
    for name, setting in spec.settings.items():
        given = name in instance.config or setting.default is not None or setting.env
        if setting.required and not given:
            message = f"Setting {name!r} is missing. {setting.description}"
            yield instance.problem("/config", message)


def _wrong_types(instance: DeclaredInstance, spec: ConnectorSpec) -> Iterator[SpecProblem]:
    import jsonschema

    for name, value in instance.config.items():
        setting = spec.settings.get(name)
        if setting is None or _holds_reference(value):
            continue
        validator = jsonschema.Draft202012Validator(setting.json_schema())
        for error in validator.iter_errors(value):
            message = (
                f"Setting {name!r} does not fit: {error.message:.200}. {setting.description}"
                if not setting.secret
                else f"Setting {name!r} does not fit its type {setting.type!r}."
            )
            yield instance.problem(pointer_to("/config", name), message)


def _literal_secrets(instance: DeclaredInstance, spec: ConnectorSpec) -> Iterator[SpecProblem]:
    for name, value in instance.config.items():
        try:
            refuse_literal_secrets(spec, {name: value})
        except ConfigurationError as error:
            yield instance.problem(pointer_to("/config", name), str(error))


def _wrong_schedule(instance: DeclaredInstance, spec: ConnectorSpec) -> Iterator[SpecProblem]:
    if instance.schedule in {None, DEFAULT_SCHEDULE}:
        return
    try:
        Rule.parse(str(instance.schedule), spec.timezone)
    except ConfigurationError as error:
        yield instance.problem("/schedule", str(error))


def _holds_reference(value: object) -> bool:
    if isinstance(value, list):
        return any(_holds_reference(inner) for inner in value)
    return isinstance(value, str) and REFERENCE.fullmatch(value) is not None


def _close(name: str, known: Any) -> str:
    close = get_close_matches(str(name), [str(one) for one in known], 1)
    return f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(sorted(known))}."
