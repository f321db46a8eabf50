# SPDX-License-Identifier: Apache-2.0
"""Checks a connector spec: the JSON Schema first, then what a schema cannot say.

Every problem has a line, a column, a JSON pointer and a sentence that ends in what to do.
"""

import difflib
import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Any

from ipai_kit.spec.model import ConnectorSpec, build_spec
from ipai_kit.spec.rules import broken_rules
from ipai_kit.spec.yaml_source import SpecProblem, YamlSource, pointer_to, read_yaml

_TYPE_NAMES = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
}
_SHOWN_VALUE = 80


class SpecError(ValueError):
    """The connector spec cannot be used: ``problems`` says where and why."""

    exit_code = 78

    def __init__(self, name: str, problems: list[SpecProblem]) -> None:
        self.name = name
        self.problems = problems
        lines = "\n".join(f"  {problem}" for problem in problems)
        super().__init__(f"Connector spec {name!r} has {len(problems)} problem(s):\n{lines}")


def connector_schema() -> dict[str, Any]:
    """The JSON Schema of ``connector.yaml``, as published in ``schemas/``."""
    return dict(_schema())


def check_spec(
    text: str, name: str = "connector.yaml", *, today: date | None = None
) -> list[SpecProblem]:
    """All problems of a spec in reading order; warnings among them have that severity."""
    problems = [replace(found, file=name) for found in _problems(read_yaml(text), today)]
    return sorted(problems, key=lambda found: (found.line, found.column))


def load_spec(path: str | Path) -> ConnectorSpec:
    """Read and check a ``connector.yaml``; ``SpecError`` lists what is wrong with it."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        message = "The file does not exist. Write it, or run 'ipai new tap'."
        raise SpecError(str(path), [SpecProblem(1, 1, "", message, file=str(path))]) from error
    except UnicodeDecodeError as error:
        message = f"The file is not UTF-8 at byte {error.start}. Save it as UTF-8."
        raise SpecError(str(path), [SpecProblem(1, 1, "", message, file=str(path))]) from error
    return parse_spec(text, str(path))


def parse_spec(text: str, name: str = "connector.yaml") -> ConnectorSpec:
    """Check the text of a spec and build the model from it."""
    errors = [found for found in check_spec(text, name) if found.severity == "error"]
    if errors:
        raise SpecError(name, errors)
    return build_spec(read_yaml(text).value)


@functools.cache
def _schema() -> dict[str, Any]:
    text = resources.files("ipai_kit.spec").joinpath("connector.schema.json").read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def schema_problems(source: YamlSource, schema: Mapping[str, Any]) -> list[SpecProblem]:
    """What a JSON Schema finds wrong in any document, told in the words of its `x-hint`s."""
    told = [] if source.value is None else _told(source, _failures(source.value, _strict(schema)))
    return [*source.problems, *told]


@functools.cache
def _validator() -> Any:
    return _strict(_schema())


def _strict(schema: Mapping[str, Any]) -> Any:
    import jsonschema  # a fifth of a second that commands without a spec need not wait

    def whole_pattern(
        _validator: Any, pattern: str, instance: Any, _schema: Any
    ) -> Iterator[jsonschema.ValidationError]:
        """As ECMAScript does it: ``$`` is the end of the text, not a line break before it."""
        if isinstance(instance, str) and not re.search(pattern.replace("$", r"\Z"), instance):
            yield jsonschema.ValidationError(f"{instance!r} does not match {pattern!r}")

    extend: Any = jsonschema.validators.extend
    strict = extend(jsonschema.Draft202012Validator, {"pattern": whole_pattern})
    return strict(schema, format_checker=jsonschema.FormatChecker(["date"]))


@dataclass(frozen=True, slots=True)
class _Failure:
    """One keyword of the schema that a value does not meet."""

    keyword: str
    wanted: Any
    value: Any
    schema: dict[str, Any]
    pointer: str
    of_name: bool
    missing: str

    @property
    def hint(self) -> str:
        """What to do, as the schema itself says it."""
        return str(self.schema.get("x-hint", ""))


def _failures(value: Any, validator: Any) -> list[_Failure]:
    return [
        _Failure(
            error.validator,
            error.validator_value,
            error.instance,
            error.schema,
            "".join(pointer_to("", part) for part in error.absolute_path),
            "propertyNames" in error.schema_path,
            error.message.split("'")[1] if error.validator == "required" else "",
        )
        for error in validator.iter_errors(value)
    ]


def _problems(source: YamlSource, today: date | None) -> Iterator[SpecProblem]:
    yield from source.problems
    if source.value is None:
        return
    failures = _failures(source.value, _validator())
    wrong = {failure.pointer for failure in failures}
    yield from _told(source, failures)
    for found in broken_rules(source.value, wrong, today):
        place = source.place(found.pointer, of_key=found.of_key)
        yield SpecProblem(*place, found.pointer, found.message, found.severity)


def _told(source: YamlSource, failures: Sequence[_Failure]) -> Iterator[SpecProblem]:
    broken = {found.pointer for found in source.problems}
    for failure in failures:
        if failure.pointer not in broken and not _is_misspelt(failure):
            yield from _explained(failure, source)


def _explained(failure: _Failure, source: YamlSource) -> Iterator[SpecProblem]:
    pointer = failure.pointer
    if failure.keyword == "additionalProperties":
        known = list(failure.schema["properties"])
        for key in failure.value:
            if key not in known:
                inner = pointer_to(pointer, key)
                place = source.place(inner, of_key=True)
                yield SpecProblem(*place, inner, _unknown_key(key, known))
    elif failure.keyword == "required":
        yield SpecProblem(*source.place(pointer, of_key=True), pointer, _missing_key(failure))
    elif failure.of_name:
        inner = pointer_to(pointer, failure.value)
        message = f"{_label(inner)} is not a valid name. {failure.hint}"
        yield SpecProblem(*source.place(inner, of_key=True), inner, message)
    else:
        yield SpecProblem(*source.place(pointer), pointer, _value_message(failure))


def _missing_key(failure: _Failure) -> str:
    owner = f"in {_path(failure.pointer)}" if failure.pointer else "at the top level"
    meaning = failure.schema["properties"].get(failure.missing, {}).get("description", "")
    return f"Key {failure.missing!r} is missing {owner}. Add it: {_lowered(meaning)}"


def _lowered(sentence: str) -> str:
    """Continue a sentence: the first letter small, unless the word is a name like URL or JSON."""
    return sentence if sentence[:2].isupper() else sentence[:1].lower() + sentence[1:]


def _is_misspelt(failure: _Failure) -> bool:
    """Whether a missing key is there under a wrong name, which is a problem of its own."""
    known = list(failure.schema.get("properties", ()))
    return bool(failure.missing) and any(
        _closest(key, known) == failure.missing for key in failure.value if key not in known
    )


def _closest(text: str, known: list[str]) -> str | None:
    close = difflib.get_close_matches(text.lower(), known, n=1, cutoff=0.6)
    return close[0] if close else None


def _unknown_key(key: str, known: list[str]) -> str:
    if close := _closest(key, known):
        return f"Unknown key {key!r}. Did you mean {close!r}?"
    return f"Unknown key {key!r}. Remove it, or use one of: {', '.join(sorted(known))}."


def _value_message(failure: _Failure) -> str:
    label, shown, wanted = _label(failure.pointer), _shown(failure.value), failure.wanted
    if failure.keyword == "type":
        names = [_TYPE_NAMES[one] for one in ([wanted] if isinstance(wanted, str) else wanted)]
        return f"{label} must be {' or '.join(names)}, not {shown}. {failure.hint}".rstrip()
    if failure.keyword == "enum":
        choices = [str(choice) for choice in wanted]
        close = _closest(str(failure.value), choices)
        guess = f"Did you mean {close!r}? " if close else ""
        return f"{label} is not a known value: {shown}. {guess}Use one of: {', '.join(choices)}."
    if failure.keyword == "uniqueItems":
        return f"{label} names the same thing twice. Remove the second one."
    if failure.keyword in {"minItems", "minLength"} and not failure.value:
        return f"{label} is empty. {failure.hint}"
    if failure.keyword == "maxLength":
        return f"{label} has {len(failure.value)} characters. Use at most {wanted}."
    return f"{label} is not valid: {shown}. {failure.hint}"


def _label(pointer: str) -> str:
    return f"Key {_path(pointer)}" if pointer else "The file"


def _path(pointer: str) -> str:
    """``'api.base_urls[0]'``: the pointer as people write paths."""
    path = ""
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        path += f"[{name}]" if name.isdigit() else f".{name}" if path else name
    return repr(path)


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = json.dumps(value) if isinstance(value, bool | None) else repr(value)
    return text if len(text) <= _SHOWN_VALUE else text[: _SHOWN_VALUE - 4] + "...'"
