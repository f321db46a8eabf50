# SPDX-License-Identifier: Apache-2.0
"""Which connectors are installed here, and the commands that run them."""

import shutil
import sysconfig

from ipai_kit.spec import InstalledConnector, discover_connectors
from ipai_orchestrate.exceptions import ConfigurationError

DEFAULT_TARGET = "target-bronze-postgres"
# Runs of this source read nothing: they build Silver and Gold, as a step of a pipeline.
TRANSFORM = "transform"


def installed_connector(source_type: str) -> InstalledConnector:
    """The installed connector of a source; an unknown one is the user's to correct."""
    known = discover_connectors()
    if source_type in known:
        return known[source_type]
    names = ", ".join(sorted(known)) or "none is installed"
    message = (
        f"No connector is installed for source {source_type!r}. Installed: {names}. "
        f"Install it, or write one with `ipai new tap {source_type}`."
    )
    raise ConfigurationError(message)


def executable(command: str) -> str:
    """The path of a connector's command: that of this environment, else the first on PATH."""
    found = shutil.which(command, path=sysconfig.get_path("scripts")) or shutil.which(command)
    if found is None:
        message = (
            f"Command {command!r} is not installed. Install its package into this environment, "
            "e.g. `make setup` in the repository."
        )
        raise ConfigurationError(message)
    return found
