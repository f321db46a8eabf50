# SPDX-License-Identifier: Apache-2.0
"""Secrets by name: sealed in the vault, read in two phases by a run's holder, logged in a chain."""

from ipai_orchestrate.secrets.audit import AuditReport, AuditRow, Mark, verify
from ipai_orchestrate.secrets.envelope import Sealed
from ipai_orchestrate.secrets.grant import Grant
from ipai_orchestrate.secrets.key_ring import KeyRing, RingFile, ring_file
from ipai_orchestrate.secrets.reading import SecretReader, instance_secrets, run_secrets
from ipai_orchestrate.secrets.store import KeyUse, RotatedSecret, SecretStore, StoredSecret

__all__ = [
    "AuditReport",
    "AuditRow",
    "Grant",
    "KeyRing",
    "KeyUse",
    "Mark",
    "RingFile",
    "RotatedSecret",
    "Sealed",
    "SecretReader",
    "SecretStore",
    "StoredSecret",
    "instance_secrets",
    "ring_file",
    "run_secrets",
    "verify",
]
