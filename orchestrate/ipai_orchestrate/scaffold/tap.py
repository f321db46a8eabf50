# SPDX-License-Identifier: Apache-2.0
"""A new tap from the templates beside this module; complete, green, registered nowhere else."""

import re
import string
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib import resources
from pathlib import Path
from typing import Final

from ipai_kit.spec.names import (
    DOMAINS,
    SOURCE_TYPE_PATTERN,
    command_name,
    definition_name,
    distribution_name,
    module_name,
)
from ipai_orchestrate.exceptions import ConfigurationError

LONGEST_NAME: Final = 24
_PLAIN_TITLE: Final = re.compile(r"\w([\w .&+()-]{0,58}[\w)])?")

_FILES: Final = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "meltano.yml": "meltano.yml",
    "connector.yaml": "%%module/connector.yaml",
    "package.py": "%%module/__init__.py",
    "tap.py": "%%module/tap.py",
    "streams.py": "%%module/streams.py",
    "sandbox.py": "%%module/sandbox.py",
    "items.json": "%%module/schemas/items.json",
    "py.typed": "%%module/py.typed",
    "test_tap.py": "tests/test_tap.py",
}


class _Template(string.Template):
    """Marks with two percent signs: neither Python, JSON, YAML nor TOML uses them."""

    delimiter = "%%"


@dataclass(frozen=True, slots=True)
class NewTap:
    """What was written."""

    source_type: str
    folder: Path
    files: tuple[Path, ...]


def new_tap(
    name: str,
    root: Path,
    *,
    title: str | None = None,
    domain: str = "core",
    today: date | None = None,
) -> NewTap:
    """Write ``taps/tap-<name>`` below ``root``; ConfigurationError when that cannot be.

    ``name`` is the source type, with hyphens or underscores: ``jira``, ``google-ads``.
    """
    source_type = _source_type(name)
    if domain not in DOMAINS:
        message = f"Unknown domain {domain!r}. Use one of: {', '.join(DOMAINS)}."
        raise ConfigurationError(message)
    folder = Path(root) / "taps" / command_name(source_type)
    if folder.exists():
        message = f"Folder {str(folder)!r} exists already. Choose another name, or remove it."
        raise ConfigurationError(message)
    label = _title(title or source_type.replace("_", " ").capitalize())
    values = _values(source_type, label, domain, today or datetime.now(UTC).date())
    written = [
        _write(folder / _Template(path).substitute(values), template, values)
        for template, path in _FILES.items()
    ]
    return NewTap(source_type, folder, tuple(written))


def _source_type(name: str) -> str:
    source_type = name.removeprefix("tap-").replace("-", "_")
    if not SOURCE_TYPE_PATTERN.fullmatch(source_type):
        message = (
            f"Tap name {name!r} is not valid. Use lower-case letters, digits and single hyphens, "
            "starting with a letter, e.g. google-ads."
        )
        raise ConfigurationError(message)
    if len(source_type) > LONGEST_NAME:
        message = (
            f"Tap name {name!r} has {len(source_type)} characters. "
            f"Use at most {LONGEST_NAME}: it becomes part of table and job names."
        )
        raise ConfigurationError(message)
    return source_type


def _title(title: str) -> str:
    if not _PLAIN_TITLE.fullmatch(title):
        message = f"Title {title!r} is not valid. Use up to 60 letters, digits and spaces."
        raise ConfigurationError(message)
    return title


def _values(source_type: str, title: str, domain: str, today: date) -> dict[str, str]:
    words = source_type.split("_")
    return {
        "source": source_type,
        "command": command_name(source_type),
        "module": module_name(source_type),
        "distribution": distribution_name(source_type),
        "definition": definition_name(source_type),
        "class_name": "Tap" + "".join(word.capitalize() for word in words),
        "title": title,
        "variable": source_type.upper(),
        "domain": domain,
        "today": today.isoformat(),
    }


def _write(path: Path, template: str, values: dict[str, str]) -> Path:
    source = resources.files("ipai_orchestrate.scaffold") / "templates" / f"{template}.template"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_Template(source.read_text("utf-8")).substitute(values), "utf-8")
    return path
