# SPDX-License-Identifier: Apache-2.0
"""Files that a connector ships in its package: its spec and the schemas of its streams."""

from __future__ import annotations

import importlib.resources
import sys
from importlib.resources.abc import Traversable

__all__ = ["package_file"]


def package_file(owner: type, *parts: str) -> Traversable | None:
    """Return a file in the top package of a class; None when the class lies in no package."""
    module = sys.modules[owner.__module__]
    package = (module.__package__ or "").split(".")[0]  # right for `python -m` too
    return importlib.resources.files(package).joinpath(*parts) if package else None
