# SPDX-License-Identifier: Apache-2.0
"""Brings connectors and instances from reviewed files to the database, and back again.

declared (the files) → plan (against what is live) → applying; promotion and rollback are SQL.
"""

from ipai_orchestrate.releases.applying import apply_declared
from ipai_orchestrate.releases.declared import Declared, read_declared
from ipai_orchestrate.releases.plan import Change, Plan
from ipai_orchestrate.releases.register import ReleaseRegister

__all__ = ["Change", "Declared", "Plan", "ReleaseRegister", "apply_declared", "read_declared"]
