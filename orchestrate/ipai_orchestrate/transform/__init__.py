# SPDX-License-Identifier: Apache-2.0
"""Silver and Gold: launches dbt as a process on the project in transform/, and generates Silver."""

from ipai_orchestrate.transform.results import DbtEvent, NodeResult, TransformResult
from ipai_orchestrate.transform.run import run_dbt

__all__ = ["DbtEvent", "NodeResult", "TransformResult", "run_dbt"]
