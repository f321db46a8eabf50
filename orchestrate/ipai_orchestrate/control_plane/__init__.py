# SPDX-License-Identifier: Apache-2.0
"""The control plane for Python: thin methods over its SQL functions. All rules live in SQL."""

from ipai_orchestrate.control_plane.plane import ControlPlane
from ipai_orchestrate.control_plane.records import (
    ClaimedRun,
    DeadRun,
    EnsuredInstance,
    ErrorClass,
    FailedRun,
    Heartbeat,
    InstanceSummary,
    LogLine,
    Mode,
    ReapedRun,
    RegisteredDefinition,
    RunCost,
    RunStatus,
    RunSummary,
    StateVersion,
    StoredState,
)

__all__ = [
    "ClaimedRun",
    "ControlPlane",
    "DeadRun",
    "EnsuredInstance",
    "ErrorClass",
    "FailedRun",
    "Heartbeat",
    "InstanceSummary",
    "LogLine",
    "Mode",
    "ReapedRun",
    "RegisteredDefinition",
    "RunCost",
    "RunStatus",
    "RunSummary",
    "StateVersion",
    "StoredState",
]
