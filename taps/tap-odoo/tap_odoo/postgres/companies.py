# SPDX-License-Identifier: Apache-2.0
"""Companies of a database, and the values that fields have for each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["Companies", "Company"]


@dataclass(frozen=True)
class Company:
    """A company; branches stand below the one whose books they share."""

    id: int
    above: Sequence[int] = ()
    """The companies above it and itself, the top one first."""

    @property
    def root(self) -> int:
        """The company at the top."""
        return self.above[0] if self.above else self.id


@dataclass(frozen=True)
class Companies:
    """The companies that are looked at, the one with the plain values first."""

    known: Sequence[Company]
    defaults: Mapping[tuple[str, str], Mapping[int | None, str]] = field(default_factory=dict)
    """By model and field: JSON text by company; None for all companies."""
    property_fields: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Until 17, by model and field: the field's id in `ir_property`."""

    def default(self, model: str, name: str, company: int) -> str | None:
        """Return what a field has where nothing else is said, as JSON text."""
        found = self.defaults.get((model, name), {})
        return found.get(company, found.get(None))
