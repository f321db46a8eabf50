# SPDX-License-Identifier: Apache-2.0
"""Finds the installed connectors by their entry points, without importing any of them."""

import importlib.util
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from ipai_kit.spec.model import ConnectorSpec
from ipai_kit.spec.names import command_name
from ipai_kit.spec.validation import load_spec

CONNECTOR_GROUP = "ipai.connectors"
SANDBOX_GROUP = "ipai.sandboxes"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class InstalledConnector:
    """A connector found in this environment."""

    source_type: str
    command: str
    distribution: str
    spec_path: Path

    def spec(self) -> ConnectorSpec:
        """Read and check its spec."""
        return load_spec(self.spec_path)


def discover_connectors() -> dict[str, InstalledConnector]:
    """Installed connectors by source type; broken ones are left out with a warning."""
    found: dict[str, InstalledConnector] = {}
    for connector in sorted(_installed(), key=lambda one: (one.source_type, one.distribution)):
        first = found.setdefault(connector.source_type, connector)
        if first.distribution != connector.distribution:
            _logger.warning(
                "source type %r is offered twice; using %s, not %s: uninstall one of them",
                connector.source_type,
                first.distribution,
                connector.distribution,
            )
    return found


def _installed() -> Iterator[InstalledConnector]:
    for entry in entry_points(group=CONNECTOR_GROUP):
        distribution = entry.dist.name if entry.dist else entry.module.partition(".")[0]
        spec_path = _spec_path(entry)
        if spec_path is None:
            _logger.warning(
                "connector %r of %s has no connector.yaml: reinstall it", entry.name, distribution
            )
            continue
        yield InstalledConnector(entry.name, _command(entry), distribution, spec_path)


def _spec_path(entry: EntryPoint) -> Path | None:
    """``connector.yaml`` of the tap's top package; finding a top package imports nothing."""
    package = importlib.util.find_spec(entry.module.partition(".")[0])
    for folder in (package and package.submodule_search_locations) or ():
        path = Path(folder) / "connector.yaml"
        if path.is_file():
            return path
    return None


def _command(entry: EntryPoint) -> str:
    """The script that runs the same class; the name follows the source type by convention."""
    scripts = entry.dist.entry_points.select(group="console_scripts") if entry.dist else ()
    for script in scripts:
        if script.value == f"{entry.value}.cli":
            return script.name
    return command_name(entry.name)
