# SPDX-License-Identifier: Apache-2.0
"""Reads the files of pipelines; every problem has its line, its column and a next step."""

import functools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

from ipai_kit.spec import SpecProblem, parse_duration
from ipai_kit.spec.validation import schema_problems
from ipai_kit.spec.yaml_source import YamlSource, pointer_to, read_yaml
from ipai_orchestrate.exceptions import ConfigurationError
from ipai_orchestrate.scheduler.occurrences import Rule

Step = Mapping[str, Any]


@dataclass(frozen=True)
class PipelineFile:
    """A checked file: its text, and what the database keeps of it."""

    name: str
    text: str
    spec: Mapping[str, Any]


def pipeline_schema() -> dict[str, Any]:
    """The JSON Schema of a pipeline's file, as published in ``schemas/``."""
    return dict(_schema())


def read_pipelines(paths: Iterable[Path]) -> list[PipelineFile]:
    """Read files, and those in folders; what is wrong with all of them is told at once."""
    found: dict[str, PipelineFile] = {}
    problems = []
    for path in [file for given in paths for file in _files(given)]:
        text = path.read_text(encoding="utf-8")
        wrong = check_pipeline(text, str(path))
        problems += wrong
        if not wrong:
            document = read_yaml(text).value
            name = document["pipeline"]
            if name in found:
                message = f"Pipeline {name!r} is in another file too. Rename one of them."
                problems.append(SpecProblem(1, 1, "/pipeline", message, file=str(path)))
            found[name] = PipelineFile(name, text, _normalized(document))
    if problems:
        lines = "\n".join(f"  {problem}" for problem in problems)
        message = f"Pipelines have {len(problems)} problem(s):\n{lines}"
        raise ConfigurationError(message)
    return list(found.values())


def check_pipeline(text: str, name: str = "pipeline.yaml") -> list[SpecProblem]:
    """All problems of a file, in reading order."""
    source = read_yaml(text)
    problems = schema_problems(source, _schema())
    if not problems:
        problems = list(_broken_rules(source))
    in_order = sorted(problems, key=lambda one: (one.line, one.column))
    return [replace(one, file=name) for one in in_order]


@functools.cache
def _schema() -> dict[str, Any]:
    text = files(__package__).joinpath("pipeline.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted([*path.glob("*.yaml"), *path.glob("*.yml")])
        if not found:
            message = f"Folder {str(path)!r} holds no *.yaml. Name a file, or another folder."
            raise ConfigurationError(message)
        return found
    return [path]


def _normalized(document: Mapping[str, Any]) -> dict[str, Any]:
    """The file as the functions of the database read it."""
    spec = {key: document[key] for key in ("description", "trigger") if key in document}
    steps = [_step(name, step) for name, step in document["steps"].items()]
    return {**spec, "steps": steps}


def _step(name: str, step: Step) -> dict[str, Any]:
    kept: dict[str, Any] = {"name": name, "on_failure": step.get("on_failure", "abort")}
    kept |= {key: step[key] for key in ("instance", "streams", "after") if key in step}
    if "transform" in step:
        kept["select"] = [] if step["transform"] == "all" else step["transform"]
    if step.get("full_refresh"):
        kept["mode"] = "full_table"
    if "max_age" in step:
        kept["max_age_seconds"] = parse_duration(step["max_age"]).total_seconds()
    return kept


# -- what a schema cannot say ----------------------------------------------------------------------


def _broken_rules(source: YamlSource) -> Iterator[SpecProblem]:
    yield from _trigger_problems(source)
    steps: Mapping[str, Step] = source.value["steps"]
    for name, step in steps.items():
        pointer = pointer_to("/steps", name)
        yield from _kind_problems(source, pointer, name, step)
        yield from _after_problems(source, pointer, name, steps)
    yield from _circle(source, steps)


def _trigger_problems(source: YamlSource) -> Iterator[SpecProblem]:
    trigger = source.value.get("trigger", {})
    if "timezone" in trigger and "schedule" not in trigger:
        message = "A time zone needs a schedule. Add schedule, or remove timezone."
        yield _at(source, "/trigger/timezone", message)
    if "schedule" in trigger:
        try:
            Rule.parse(trigger["schedule"], trigger.get("timezone", "UTC"))
        except ConfigurationError as error:
            field = "timezone" if "zone" in str(error) else "schedule"
            yield _at(source, f"/trigger/{field}", str(error))


def _kind_problems(
    source: YamlSource, pointer: str, name: str, step: Step
) -> Iterator[SpecProblem]:
    if ("instance" in step) == ("transform" in step):
        message = f"Step {name!r} needs either an instance or a transform. Write one of them."
        yield _at(source, pointer, message, of_key=True)
    for key in ("streams", "full_refresh", "max_age"):
        if key in step and "instance" not in step:
            message = f"Key {key!r} is for steps with an instance. Remove it from step {name!r}."
            yield _at(source, pointer_to(pointer, key), message, of_key=True)
    if "max_age" in step:
        try:
            parse_duration(step["max_age"])
        except ValueError as error:
            yield _at(source, pointer_to(pointer, "max_age"), str(error))


def _after_problems(
    source: YamlSource, pointer: str, name: str, steps: Mapping[str, Step]
) -> Iterator[SpecProblem]:
    for number, before in enumerate(steps[name].get("after", ())):
        place = pointer_to(pointer_to(pointer, "after"), number)
        if before == name:
            yield _at(source, place, f"Step {name!r} waits for itself. Remove it from after.")
        elif before not in steps:
            close = get_close_matches(before, steps, 1)
            hint = f"Did you mean {close[0]!r}?" if close else f"Steps: {', '.join(steps)}."
            yield _at(source, place, f"Step {before!r} does not exist. {hint}")


def _circle(source: YamlSource, steps: Mapping[str, Step]) -> Iterator[SpecProblem]:
    waits = {
        name: {one for one in step.get("after", ()) if one in steps and one != name}
        for name, step in steps.items()
    }
    while ready := [name for name, before in waits.items() if not before & waits.keys()]:
        for name in ready:
            del waits[name]
    # Those that merely wait for a circle are no part of it.
    while idle := [name for name in waits if not any(name in one for one in waits.values())]:
        for name in idle:
            del waits[name]
    if waits:
        first = next(iter(waits))
        message = f"Steps wait for each other in a circle: {', '.join(waits)}. Take one after out."
        yield _at(source, pointer_to(pointer_to("/steps", first), "after"), message)


def _at(source: YamlSource, pointer: str, message: str, *, of_key: bool = False) -> SpecProblem:
    return SpecProblem(*source.place(pointer, of_key=of_key), pointer, message)
