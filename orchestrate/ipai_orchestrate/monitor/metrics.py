# SPDX-License-Identifier: Apache-2.0
"""Metrics in the text format of Prometheus, read from the control plane."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from itertools import groupby
from typing import Any

import psycopg
from psycopg.rows import class_row

from ipai_orchestrate.control_plane.errors import translate
from ipai_orchestrate.control_plane.queries import load_queries

_QUERIES = load_queries(files(__package__).joinpath("queries.sql").read_text(encoding="utf-8"))
_HELP_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n"})
_LABEL_ESCAPES = _HELP_ESCAPES | str.maketrans({'"': r"\""})


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One value; `sample` is the name of its line, `name` that of the metric it belongs to."""

    name: str
    type: str
    help: str
    sample: str
    labels: dict[str, str]
    value: float


def read_metrics(connection: psycopg.Connection[Any]) -> list[Sample]:
    """All samples of the connected control plane, grouped by metric."""
    try:
        with connection.cursor(row_factory=class_row(Sample)) as cursor:
            return cursor.execute(_QUERIES["metrics"]).fetchall()
    except psycopg.Error as error:
        raise translate(error) from error


def exposition(samples: Iterable[Sample]) -> str:
    """The text a Prometheus server reads; samples of one metric have to stand together."""
    return "".join(f"{line}\n" for line in _lines(samples))


def _lines(samples: Iterable[Sample]) -> Iterator[str]:
    for name, group in groupby(samples, key=lambda one: one.name):
        members = list(group)
        yield f"# HELP {name} {members[0].help.translate(_HELP_ESCAPES)}"
        yield f"# TYPE {name} {members[0].type}"
        for one in members:
            yield f"{one.sample}{_labels(one.labels)} {one.value!r}"


def _labels(labels: dict[str, str]) -> str:
    inner = ",".join(f'{key}="{value.translate(_LABEL_ESCAPES)}"' for key, value in labels.items())
    return f"{{{inner}}}" if inner else ""
