# SPDX-License-Identifier: Apache-2.0
"""Reads transform/silver/<source>.yml: what people decided about Silver that no schema can say.

exclude: ["*_url", node_id]          properties that give no column, by name or pattern
include: [html_url]                  exceptions to exclude
rename: {_repository: repository}    property -> column
nested:                              columns out of an object, instead of the object as jsonb
  user: {id: author_id, login: author_login}
  commit.author: {date: authored_at}
partition_by: [created_at]           the first of these columns a model has; none: no partitions
types: {score: numeric}              column -> type, where the schema is wrong or too wide
streams:
  commits: {entity: commits, description: ..., and any of the above, laid over it}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from ipai_orchestrate.exceptions import ConfigurationError

_LISTS = ("exclude", "include", "partition_by")
_MAPPINGS = ("rename", "nested", "types")
_STREAM_ONLY = ("entity", "description")


@dataclass(frozen=True)
class StreamDecisions:
    """What was decided for one stream."""

    entity: str
    description: str = ""
    exclude: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    partition_by: tuple[str, ...] = ()
    rename: Mapping[str, str] = field(default_factory=dict)
    nested: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)

    def leaves_out(self, name: str) -> bool:
        """Whether the property gives no column."""
        if name in self.include or name in self.rename:
            return False
        return any(fnmatchcase(name, pattern) for pattern in self.exclude)


@dataclass(frozen=True)
class SourceDecisions:
    """What was decided for a source, stream by stream; without a file, nothing was."""

    path: Path
    values: Mapping[str, Any]

    @classmethod
    def load(cls, path: Path) -> SourceDecisions:
        """Read the file if there is one, refusing what would have no effect."""
        if not path.exists():
            return cls(path, {})
        decisions = cls(path, yaml.safe_load(path.read_text()) or {})
        decisions._check(decisions.values, {*_LISTS, *_MAPPINGS, "streams"}, "")
        for stream, values in decisions.values.get("streams", {}).items():
            decisions._check(values, {*_LISTS, *_MAPPINGS, *_STREAM_ONLY}, f"streams.{stream}.")
        return decisions

    @property
    def streams(self) -> frozenset[str]:
        """Streams that are named."""
        return frozenset(self.values.get("streams", {}))

    def of(self, stream: str) -> StreamDecisions:
        """The source's decisions with those of the stream laid over them."""
        own: Mapping[str, Any] = self.values.get("streams", {}).get(stream, {})
        both = (self.values, own)
        return StreamDecisions(
            entity=own.get("entity", stream),
            description=" ".join(own.get("description", "").split()),
            exclude=tuple(name for values in both for name in values.get("exclude", ())),
            include=tuple(name for values in both for name in values.get("include", ())),
            partition_by=tuple(own.get("partition_by", self.values.get("partition_by", ()))),
            **{
                name: {key: to for values in both for key, to in values.get(name, {}).items()}
                for name in _MAPPINGS
            },
        )

    def _check(self, values: Mapping[str, Any], known: set[str], place: str) -> None:
        for name, value in values.items():
            wanted = list if name in _LISTS else str if name in _STREAM_ONLY else dict
            if name not in known:
                message = (
                    f"Unknown key {place + name!r} in {str(self.path)!r}. "
                    f"Use one of: {', '.join(sorted(known))}."
                )
                raise ConfigurationError(message)
            if not isinstance(value, wanted):
                message = (
                    f"Key {place + name!r} in {str(self.path)!r} is {value!r}. "
                    f"Write a {wanted.__name__}."
                )
                raise ConfigurationError(message)
