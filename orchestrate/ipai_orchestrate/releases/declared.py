# SPDX-License-Identifier: Apache-2.0
"""Reads what reviewed files declare: connector specs, instances of them, and pipelines."""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ipai_kit.spec import ConnectorSpec, SpecProblem, check_spec, parse_spec
from ipai_orchestrate.exceptions import ConfigurationError, DeclarationError
from ipai_orchestrate.pipelines.document import PipelineFile, check_pipeline, read_pipelines
from ipai_orchestrate.releases.instance_file import DeclaredInstance, read_instance

SPEC_FILE = "connector.yaml"
INSTANCES_FOLDER = "instances"
PIPELINES_FOLDER = "pipelines"
_IS_SPEC = re.compile(r"^spec_version:", re.MULTILINE)
_IS_PIPELINE = re.compile(r"^pipeline:", re.MULTILINE)


@dataclass(frozen=True)
class DeclaredSpec:
    """A connector's spec, as written."""

    text: str
    spec: ConnectorSpec
    file: str


@dataclass(frozen=True)
class Declared:
    """All that was read, by source type, by instance id and by the pipeline's name."""

    specs: dict[str, DeclaredSpec] = field(default_factory=dict)
    instances: dict[str, DeclaredInstance] = field(default_factory=dict)
    pipelines: dict[str, PipelineFile] = field(default_factory=dict)


def read_declared(paths: Iterable[Path], env: str | None = None) -> Declared:
    """Read files and folders; of the instances only those of an environment, if one is given.

    In a folder these are the files connector.yaml and what is in folders named instances or
    pipelines.
    """
    declared = Declared()
    problems: list[SpecProblem] = []
    for path, name in _files(paths):
        problems += _read(path, name, declared)
    if problems:
        raise DeclarationError(problems)
    if env is None:
        return declared
    chosen = {one.id: one for one in declared.instances.values() if one.env == env}
    return Declared(declared.specs, chosen)  # a pipeline is of no environment


def _files(paths: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    """Each file with the name it is known by: relative to the folder that was given."""
    for path in paths:
        if not path.exists():
            message = f"{str(path)!r} does not exist. Name the folder or files to apply."
            raise ConfigurationError(message)
        if path.is_file():
            yield path, path.name
            continue
        found = [one for one in _yaml_files(path) if _is_declaration(one, path)]
        if not found:
            message = (
                f"Folder {str(path)!r} holds no {SPEC_FILE} and no {INSTANCES_FOLDER}/*.yaml or "
                f"{PIPELINES_FOLDER}/*.yaml. "
                "Write an instance into a file there, or name its files."
            )
            raise ConfigurationError(message)
        yield from ((one, one.relative_to(path).as_posix()) for one in found)


def _yaml_files(folder: Path) -> list[Path]:
    """All YAML below a folder; hidden folders, an environment's among them, are not entered."""
    found: list[Path] = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place, name) for name in names if name.endswith((".yaml", ".yml"))]
    return sorted(found)


def _is_declaration(path: Path, folder: Path) -> bool:
    parents = [*path.relative_to(folder).parts[:-1], folder.resolve().name]
    return path.name == SPEC_FILE or bool({INSTANCES_FOLDER, PIPELINES_FOLDER} & {*parents})


def _read(path: Path, name: str, declared: Declared) -> list[SpecProblem]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        message = f"The file is not UTF-8 at byte {error.start}. Save it as UTF-8."
        return [SpecProblem(1, 1, "", message, file=name)]
    if path.name == SPEC_FILE or _IS_SPEC.search(text):
        return _add_spec(text, name, declared)
    if _IS_PIPELINE.search(text):
        return _add_pipeline(path, text, name, declared)
    return _add_instance(text, name, declared)


def _add_spec(text: str, name: str, declared: Declared) -> list[SpecProblem]:
    problems = [one for one in check_spec(text, name) if one.severity == "error"]
    if problems:
        return problems
    spec = parse_spec(text, name)
    before = declared.specs.get(spec.source_type)
    if before is not None and before.text != text:
        message = f"Connector {spec.source_type!r} is declared in {before.file!r} too. Keep one."
        return [SpecProblem(1, 1, "/source_type", message, file=name)]
    declared.specs[spec.source_type] = DeclaredSpec(text, spec, name)
    return []


def _add_instance(text: str, name: str, declared: Declared) -> list[SpecProblem]:
    instance, problems = read_instance(text, name)
    if instance is None:
        return problems
    before = declared.instances.get(instance.id)
    if before is not None:
        message = f"Instance {instance.id!r} is declared in {before.file!r} too. Keep one."
        return [instance.problem("/instance", message)]
    declared.instances[instance.id] = instance
    return []


def _add_pipeline(path: Path, text: str, name: str, declared: Declared) -> list[SpecProblem]:
    if problems := check_pipeline(text, name):
        return problems
    (pipeline,) = read_pipelines([path])
    if pipeline.name in declared.pipelines:
        message = f"Pipeline {pipeline.name!r} is declared in another file too. Keep one."
        return [SpecProblem(1, 1, "/pipeline", message, file=name)]
    declared.pipelines[pipeline.name] = pipeline
    return []
