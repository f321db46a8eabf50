# SPDX-License-Identifier: Apache-2.0
"""Applies what files declare: plan and changes in one transaction, by one at a time."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import psycopg

from ipai_kit.spec import ConnectorSpec, SpecProblem, discover_connectors, parse_spec
from ipai_orchestrate.control_plane import ControlPlane
from ipai_orchestrate.exceptions import DeclarationError
from ipai_orchestrate.instances import further_settings
from ipai_orchestrate.pipelines.register import LivePipeline, PipelineRegister
from ipai_orchestrate.releases.declared import Declared, DeclaredSpec
from ipai_orchestrate.releases.instance_file import DeclaredInstance, misfits
from ipai_orchestrate.releases.plan import Change, Plan, differences, make_plan
from ipai_orchestrate.releases.records import LiveDefinition, LiveInstance
from ipai_orchestrate.releases.register import ReleaseRegister


@dataclass(frozen=True)
class ApplyOptions:
    """How far applying goes."""

    env: str | None = None
    prune: bool = False
    plan_only: bool = False


def apply_declared(
    connection: psycopg.Connection[Any], declared: Declared, options: ApplyOptions
) -> Plan:
    """Check and plan, and unless only the plan is wanted, make the changes; all of them or none."""
    register = ReleaseRegister(connection)
    with connection.transaction():
        register.one_at_a_time()
        definitions, instances = register.definitions(), register.instances()
        declared = with_installed_specs(declared, definitions)
        _refuse_misfits(declared, instances)
        plan = make_plan(declared, definitions, instances, env=options.env, prune=options.prune)
        pipelines = PipelineRegister(connection)
        live = pipelines.live()
        changes = [] if options.env else list(_undeclared_pipelines(declared, live))
        if declared.pipelines or not options.plan_only:
            # What a pipeline names may be made just before it: its plan is made by doing it all.
            with connection.transaction(force_rollback=options.plan_only):
                _apply(ControlPlane(connection), register, declared, plan, instances)
                changes = [*_apply_pipelines(pipelines, declared, live), *changes]
    return replace(plan, changes=(*plan.changes, *changes))


def _undeclared_pipelines(declared: Declared, live: Mapping[str, LivePipeline]) -> Iterator[Change]:
    for name in sorted(live.keys() - declared.pipelines.keys()):
        yield Change("pipeline", name, "undeclared", note=live[name].status)


def _apply_pipelines(
    register: PipelineRegister, declared: Declared, live: Mapping[str, LivePipeline]
) -> Iterator[Change]:
    for name, file in sorted(declared.pipelines.items()):
        done = register.apply(file)
        if done.created:
            yield Change("pipeline", name, "create")
        elif done.changed:
            fields = tuple(differences(live[name].spec, dict(file.spec)))
            yield Change("pipeline", name, "change", fields, "" if fields else "text only")
        else:
            yield Change("pipeline", name, "none")


def with_installed_specs(declared: Declared, definitions: Mapping[str, LiveDefinition]) -> Declared:
    """Add specs that instances need and no file holds: as installed here, else as registered."""
    installed = discover_connectors()
    specs = dict(declared.specs)
    problems: list[SpecProblem] = []
    for instance in declared.instances.values():
        if instance.source_type in specs:
            continue
        if instance.source_type in installed:
            connector = installed[instance.source_type]
            text = connector.spec_path.read_text(encoding="utf-8")
            specs[instance.source_type] = DeclaredSpec(text, connector.spec(), connector.command)
        elif instance.definition_id in definitions:
            text = definitions[instance.definition_id].yaml_spec
            specs[instance.source_type] = DeclaredSpec(text, parse_spec(text), "as registered")
        else:
            names = ", ".join(sorted({*installed, *specs})) or "none"
            message = (
                f"Connector {instance.source_type!r} is in no file, not installed and not "
                f"registered. Known: {names}. Add its connector.yaml, or install it."
            )
            problems.append(instance.problem("/connector", message))
    if problems:
        raise DeclarationError(problems)
    return replace(declared, specs=specs)


def _refuse_misfits(
    declared: Declared,
    instances: Mapping[str, LiveInstance],
) -> None:
    problems = []
    for instance in declared.instances.values():
        spec = declared.specs[instance.source_type].spec
        problems += misfits(instance, spec, _further(instance, spec))
        live = instances.get(instance.id)
        if live is not None:
            problems += _contradictions(instance, live)
    if problems:
        raise DeclarationError(problems)


def _further(instance: DeclaredInstance, spec: ConnectorSpec) -> set[str]:
    """The tap's general settings; it is asked only about settings that its spec does not know."""
    if instance.config.keys() <= spec.settings.keys():
        return set()
    installed = discover_connectors().get(spec.source_type)
    return further_settings(installed) if installed else set()


def _contradictions(instance: DeclaredInstance, live: LiveInstance) -> list[SpecProblem]:
    """What an instance keeps for its life."""
    kept = [("env", live.env, instance.env)]
    kept.append(("connector", live.definition_id, instance.definition_id))
    problems = [
        instance.problem(
            f"/{key}",
            f"Instance {instance.id!r} exists with {key} {before!r} and keeps it. "
            "Choose another instance id.",
        )
        for key, before, wanted in kept
        if before != wanted
    ]
    if live.status == "archived":
        message = f"Instance {instance.id!r} is archived for good. Choose another instance id."
        problems.append(instance.problem("/instance", message))
    return problems


def _apply(
    plane: ControlPlane,
    register: ReleaseRegister,
    declared: Declared,
    plan: Plan,
    live: Mapping[str, LiveInstance],
) -> None:
    for change in plan.changes:
        if change.kind == "definition" and change.action != "none":
            spec = next(one for one in declared.specs.values() if one.spec.name == change.name)
            plane.register_definition(spec.text, spec.spec)
        elif change.action == "disable":
            register.retire(change.name)
        elif change.name in declared.instances and change.kind == "instance":
            instance = declared.instances[change.name]
            before = live.get(instance.id)
            if change.action != "none" or before is None or before.declared_in != instance.file:
                register.apply_instance(instance, plan.versions[instance.definition_id])
