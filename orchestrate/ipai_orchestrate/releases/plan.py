# SPDX-License-Identifier: Apache-2.0
"""What applying would change: the difference between the files and what is live, field by field."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from ipai_kit.spec import ConnectorSpec, definition_name
from ipai_orchestrate.catalog import TRANSFORM
from ipai_orchestrate.instances import PRODUCTION
from ipai_orchestrate.releases.declared import Declared, DeclaredSpec
from ipai_orchestrate.releases.instance_file import DeclaredInstance
from ipai_orchestrate.releases.records import LiveDefinition, LiveInstance

Action = Literal["create", "change", "disable", "undeclared", "none"]


@dataclass(frozen=True)
class FieldChange:
    """One field that differs; null stands for a field that is not there."""

    path: str
    live: Any
    declared: Any


@dataclass(frozen=True)
class Change:
    """What happens to one definition, instance or pipeline."""

    kind: Literal["definition", "instance", "pipeline"]
    name: str
    action: Action
    fields: tuple[FieldChange, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Plan:
    """All changes in the order in which they are made; `versions` are those after it."""

    changes: tuple[Change, ...]
    versions: Mapping[str, int] = field(default_factory=dict)

    def count(self, action: Action) -> int:
        """How many there are of a kind."""
        return sum(one.action == action for one in self.changes)

    @property
    def is_empty(self) -> bool:
        """Whether files and database agree."""
        return all(one.action in {"none", "undeclared"} for one in self.changes)


def make_plan(
    declared: Declared,
    definitions: Mapping[str, LiveDefinition],
    instances: Mapping[str, LiveInstance],
    *,
    env: str | None = None,
    prune: bool = False,
) -> Plan:
    """Compare; what is live in another environment than `env` is left out."""
    changes = []
    versions = {name: one.version for name, one in definitions.items()}
    for spec in sorted(declared.specs.values(), key=lambda one: one.spec.source_type):
        change = _definition_change(spec, definitions.get(spec.spec.name))
        versions[spec.spec.name] = versions.get(spec.spec.name, 0) + (change.action != "none")
        changes.append(change)
    for instance in sorted(declared.instances.values(), key=lambda one: one.id):
        version = versions[instance.definition_id]
        changes.append(_instance_change(instance, instances.get(instance.id), version))
    changes += _undeclared(declared, instances, env, prune=prune)
    return Plan(tuple(changes), versions)


def as_stored(spec: ConnectorSpec) -> dict[str, Any]:
    """A spec in the form in which the database holds it."""
    stored: dict[str, Any] = json.loads(msgspec.json.encode(spec))
    return stored


def differences(live: Any, declared: Any, path: str = "") -> Iterator[FieldChange]:
    """The fields that differ, by dotted path; lists of named things are compared by name."""
    live, declared = _by_name(live), _by_name(declared)
    if isinstance(live, Mapping) and isinstance(declared, Mapping):
        for key in sorted(live.keys() | declared.keys()):
            inner = f"{path}.{key}" if path else str(key)
            yield from differences(live.get(key), declared.get(key), inner)
    elif live != declared:
        yield FieldChange(path, live, declared)


def _by_name(value: Any) -> Any:
    if (
        isinstance(value, list)
        and value
        and all(isinstance(v, dict) and "name" in v for v in value)
    ):
        return {one["name"]: one for one in value}
    return value


def _definition_change(declared: DeclaredSpec, live: LiveDefinition | None) -> Change:
    name = declared.spec.name
    if live is None:
        return Change("definition", name, "create", note="version 1")
    if live.spec_hash == hashlib.sha256(declared.text.encode()).hexdigest():
        return Change("definition", name, "none", note=f"version {live.version}")
    fields = tuple(differences(live.spec, as_stored(declared.spec)))
    note = f"version {live.version} -> {live.version + 1}"
    return Change("definition", name, "change", fields, note if fields else f"{note}, text only")


def _instance_change(instance: DeclaredInstance, live: LiveInstance | None, version: int) -> Change:
    in_production = instance.env == PRODUCTION
    if live is None:
        note = f"{instance.env}, version {version}"
        note += ", a draft until it is promoted" if in_production else ""
        return Change("instance", instance.id, "create", note=note)
    stays = in_production and live.definition_version != version
    fields = list(differences(live.config, instance.config, "config"))
    fields += differences(live.schedule, instance.schedule, "schedule")
    if live.status != "draft":
        fields += differences(live.status, instance.status, "status")
    if not in_production:
        fields += differences(live.definition_version, version, "definition_version")
    note = instance.env
    if stays:
        note += f", stays at version {live.definition_version} of {version} until it is promoted"
    elif live.status == "draft":
        note += ", a draft until it is promoted"
    action: Action = "change" if fields else "none"
    return Change("instance", instance.id, action, tuple(fields), note)


def _undeclared(
    declared: Declared, live: Mapping[str, LiveInstance], env: str | None, *, prune: bool
) -> Iterator[Change]:
    for one in live.values():
        if one.id in declared.instances or one.status == "archived" or env not in {None, one.env}:
            continue
        if one.definition_id == definition_name(TRANSFORM):
            continue  # declared by its pipeline
        if prune and one.declared_in is not None:
            change = FieldChange("status", one.status, "paused")
            fields = (change,) if one.status == "active" else ()
            yield Change("instance", one.id, "disable", fields, f"was in {one.declared_in}")
        else:
            was = f"was in {one.declared_in}" if one.declared_in else one.status
            yield Change("instance", one.id, "undeclared", note=f"{one.env}, {was}")
