# SPDX-License-Identifier: Apache-2.0
"""What sources keep for us: replication slots, asked for through the connector's own command."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ipai_kit.spec import InstalledConnector
from ipai_orchestrate.catalog import executable
from ipai_orchestrate.pipeline.check import prepared
from ipai_orchestrate.pipeline.connectors import Connector, child_environment, launchable
from ipai_orchestrate.pipeline.process_group import bound_to_us
from ipai_orchestrate.secrets import SecretReader

_SECONDS = 120


@dataclass(frozen=True)
class SlotAnswer:
    """What the connector said of an instance's slot, or why it could not."""

    status: Mapping[str, Any]
    failure: str = ""
    exit_code: int = 0

    @property
    def warnings(self) -> list[str]:
        """What somebody should look at."""
        return [self.failure] if self.failure else list(self.status.get("warnings", ()))


def ask_slot(
    connector: InstalledConnector,
    config: Mapping[str, Any],
    action: Literal["status", "drop"],
    work_root: Path,
    secrets: SecretReader | None = None,
) -> SlotAnswer:
    """Show or drop the slot of one instance; its settings go by a sealed file."""
    with prepared(connector, config, work_root, secrets) as (tap, directory, redactor):
        program = executable(f"{connector.command}-cdc")
        asking = Connector(program, tap.config, (action,))
        with launchable(asking, directory, child_environment(directory)) as launch:
            done = subprocess.run(
                bound_to_us(launch.command),
                env=launch.environment,
                cwd=directory,
                pass_fds=launch.descriptors,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_SECONDS,
                check=False,
            )
        if done.returncode == 0:
            return SlotAnswer(json.loads(done.stdout))
        said = redactor.text(done.stderr.decode("utf-8", "replace")).strip().splitlines()
        return SlotAnswer({}, _reason(said[-1] if said else ""), done.returncode)


def _reason(line: str) -> str:
    try:
        event = json.loads(line)
    except ValueError:
        return line or "The connector said nothing."
    return f"{event.get('message', '')} {event.get('next_step', '')}".strip()
