# SPDX-License-Identifier: Apache-2.0
"""The first minutes with the product: a source, two syncs, all layers, and what to do next."""

from ipai_orchestrate.demo.plan import DemoPlan, live_plan, sandbox_plan
from ipai_orchestrate.demo.story import tell

__all__ = ["DemoPlan", "live_plan", "sandbox_plan", "tell"]
