# SPDX-License-Identifier: Apache-2.0
"""What the tests of every tap share: a running stand-in, a run of the tap, the common rules."""

from ipai_kit.testing.conformance import connector_conformance
from ipai_kit.testing.runs import TapRun, run_tap, selecting
from ipai_kit.testing.sandboxes import SandboxUrl, running_sandbox

__all__ = [
    "SandboxUrl",
    "TapRun",
    "connector_conformance",
    "run_tap",
    "running_sandbox",
    "selecting",
]
