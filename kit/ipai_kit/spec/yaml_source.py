# SPDX-License-Identifier: Apache-2.0
"""YAML read safely, with the line and column of every key and value.

Plain YAML 1.2 values only: no tags, no anchors (a few lines of them can expand to gigabytes), no
``yes``/``no`` booleans, and dates stay text.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml

MAX_SPEC_BYTES = 65_536
MAX_DEPTH = 20
_LONGEST_NUMBER = 40


@dataclass(frozen=True, slots=True)
class SpecProblem:
    """One thing to change in a spec, where it is and what to do about it."""

    line: int
    column: int
    pointer: str
    message: str
    severity: str = "error"
    file: str = ""

    def __str__(self) -> str:
        """``file:line:column: message``, clickable in terminals and editors."""
        place = f"{self.file}:{self.line}:{self.column}".lstrip(":")
        mark = "" if self.severity == "error" else f"{self.severity}: "
        return f"{place}: {mark}{self.message}"


@dataclass(slots=True)
class YamlSource:
    """A document as plain values, and the place of each part by its JSON pointer."""

    value: Any = None
    keys: dict[str, tuple[int, int]] = field(default_factory=dict)
    values: dict[str, tuple[int, int]] = field(default_factory=dict)
    problems: list[SpecProblem] = field(default_factory=list)

    def place(self, pointer: str, *, of_key: bool = False) -> tuple[int, int]:
        """Line and column of a value (or of its key); the nearest parent's when it is absent."""
        while pointer:
            place = self.keys.get(pointer) if of_key else None
            place = place or self.values.get(pointer)
            if place:
                return place
            pointer = pointer.rpartition("/")[0]
        return self.values.get("", (1, 1))


class _PlainLoader(yaml.SafeLoader):
    """Safe loader with the scalars of YAML 1.2: what an editor's schema support reads too."""


_PlainLoader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("tag:yaml.org,2002:null", r"null|~|", ["n", "~", ""]),
    ("tag:yaml.org,2002:bool", r"true|false", list("tf")),
    ("tag:yaml.org,2002:int", r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?",
        list("-+0123456789"),
    ),
):
    _PlainLoader.add_implicit_resolver(_tag, re.compile(f"(?:{_pattern})$"), _first)

_SCALARS: dict[str, Callable[[str], Any]] = {
    "tag:yaml.org,2002:null": lambda _: None,
    "tag:yaml.org,2002:bool": lambda text: text == "true",
    "tag:yaml.org,2002:int": lambda text: int(text) if len(text) <= _LONGEST_NUMBER else text,
    "tag:yaml.org,2002:float": lambda text: float(text) if math.isfinite(float(text)) else text,
    "tag:yaml.org,2002:str": str,
}


def pointer_to(parent: str, key: object) -> str:
    """JSON pointer of a member, with ``~`` and ``/`` escaped."""
    return f"{parent}/{str(key).replace('~', '~0').replace('/', '~1')}"


def read_yaml(text: str) -> YamlSource:
    """Read one document; whatever stops that is in ``problems``."""
    source = YamlSource()
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_SPEC_BYTES:
        message = f"The file has {size} bytes. A connector spec has at most {MAX_SPEC_BYTES}."
        source.problems.append(SpecProblem(1, 1, "", message))
        return source
    try:
        _refuse_traps(text)
        node = yaml.compose(text, Loader=_PlainLoader)
    except yaml.MarkedYAMLError as error:
        source.problems.append(_syntax_problem(error))
    except yaml.reader.ReaderError as error:
        source.problems.append(_character_problem(text, error))
    else:
        if node is None:
            message = "The file is empty. Start with 'spec_version: 1' or run 'ipai new tap'."
            source.problems.append(SpecProblem(1, 1, "", message))
        else:
            source.value = _plain(node, "", source)
    return source


_OPENING = (
    yaml.BlockMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.FlowSequenceStartToken,
)
_CLOSING = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)


class _RefusedError(yaml.MarkedYAMLError):
    """An anchor, alias, tag or abyss: refused before anything is built from it."""


def _refuse_traps(text: str) -> None:
    depth = 0
    for token in yaml.scan(text, Loader=_PlainLoader):
        depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
        if depth > MAX_DEPTH:
            message = f"The file is nested deeper than {MAX_DEPTH} levels. Flatten it."
            raise _RefusedError(problem=message, problem_mark=token.start_mark)
        if isinstance(token, yaml.AnchorToken | yaml.AliasToken):
            sign = "&" if isinstance(token, yaml.AnchorToken) else "*"
            message = (
                f"Anchors and aliases are not allowed: '{sign}{token.value}'. "
                "Write the value out, or quote it if it is text."
            )
            raise _RefusedError(problem=message, problem_mark=token.start_mark)
        if isinstance(token, yaml.TagToken):
            message = (
                f"YAML tags are not allowed: {''.join(filter(None, token.value))!r}. Remove it."
            )
            raise _RefusedError(problem=message, problem_mark=token.start_mark)


def _plain(node: yaml.Node, pointer: str, source: YamlSource) -> Any:
    source.values[pointer] = _place(node.start_mark)
    if isinstance(node, yaml.MappingNode):
        return _plain_mapping(node, pointer, source)
    if isinstance(node, yaml.SequenceNode):
        return [
            _plain(item, pointer_to(pointer, index), source)
            for index, item in enumerate(node.value)
        ]
    return _SCALARS[node.tag](node.value)


def _plain_mapping(node: yaml.MappingNode, pointer: str, source: YamlSource) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for key_node, value_node in node.value:
        place = _place(key_node.start_mark)
        if not isinstance(key_node, yaml.ScalarNode):
            message = "A key must be text, not a list or a mapping. Quote it if it is text."
            source.problems.append(SpecProblem(*place, pointer, message))
            continue
        key = str(key_node.value)
        inner = pointer_to(pointer, key)
        if key in plain:
            first = source.keys[inner][0]
            message = f"Key {key!r} is given twice, first in line {first}. Keep one of them."
            source.problems.append(SpecProblem(*place, inner, message))
            continue
        source.keys[inner] = place
        plain[key] = _plain(value_node, inner, source)
    return plain


def _place(mark: yaml.Mark) -> tuple[int, int]:
    return mark.line + 1, mark.column + 1


def _syntax_problem(error: yaml.MarkedYAMLError) -> SpecProblem:
    mark = error.problem_mark or error.context_mark
    problem, context = error.problem or "", error.context or ""
    if isinstance(error, _RefusedError):
        message = problem
    elif "'\\t'" in problem:
        message = "Tabs cannot indent YAML. Use two spaces per level."
    elif "single document" in problem or "expected a single document" in str(error):
        message = "The file holds more than one document. Keep one spec per file."
    elif "mapping values are not allowed" in problem:
        message = (
            "A ':' is not allowed here. Quote the text, or check the indentation of this line."
        )
    elif "could not find expected ':'" in problem:
        mark = error.context_mark or mark
        message = "A ':' is missing after the key. Write it as 'key: value'."
    elif "scanning an alias" in context or "scanning an anchor" in context:
        mark = error.context_mark or mark
        message = "A value that starts with '*' or '&' must be quoted. Put it in quotes."
    else:
        message = (
            f"The YAML cannot be read here: {problem}. Check quotes, brackets and indentation."
        )
    return SpecProblem(*(_place(mark) if mark else (1, 1)), "", message)


def _character_problem(text: str, error: yaml.reader.ReaderError) -> SpecProblem:
    before = text[: error.position]
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    message = f"The character {text[error.position]!r} is not allowed in YAML. Remove it."
    return SpecProblem(line, column, "", message)
