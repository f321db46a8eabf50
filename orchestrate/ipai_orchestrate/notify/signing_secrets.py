# SPDX-License-Identifier: Apache-2.0
"""Finds signing secrets by reference: `${NAME}` is a variable, `${secret:NAME}` is in the vault."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ipai_orchestrate.exceptions import ConfigurationError, SecretError
from ipai_orchestrate.notify.outbox import Outbox
from ipai_orchestrate.notify.records import ClaimedDelivery
from ipai_orchestrate.notify.signature import signing_key
from ipai_orchestrate.pipeline.settings import REFERENCE
from ipai_orchestrate.secrets.envelope import Sealed, unseal
from ipai_orchestrate.secrets.key_ring import RingFile, ring_file

KEPT_SECONDS = 60.0


@dataclass
class SigningSecrets:
    """Reads signing keys; what came from the vault is kept for a minute, in memory only."""

    environment: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    ring_file: RingFile = field(default_factory=ring_file)
    _kept: dict[str, tuple[float, list[bytes]]] = field(default_factory=dict, repr=False)

    def keys_of(self, outbox: Outbox, delivery: ClaimedDelivery) -> list[bytes]:
        """The keys that sign a delivery: the newest, and those it replaces while both are valid."""
        keys: list[bytes] = []
        for reference in delivery.secret_refs:
            keys += self._keys(outbox, delivery, reference)
        return keys

    def _keys(self, outbox: Outbox, delivery: ClaimedDelivery, reference: str) -> list[bytes]:
        found = REFERENCE.fullmatch(reference)
        if found is None:
            message = f"Reference {reference!r} cannot be followed. Name a variable or a secret."
            raise ConfigurationError(message)
        if found["variable"]:
            return [signing_key(self._variable(found["variable"]), reference)]
        until, keys = self._kept.get(reference, (0.0, []))
        if time.monotonic() >= until:
            answer = self._answer(outbox, delivery, found["secret"])
            parts = [answer, *([answer["previous"]] if "previous" in answer else [])]
            keys = [signing_key(self._opened(part), reference) for part in parts]
            self._kept[reference] = (time.monotonic() + KEPT_SECONDS, keys)
        return keys

    def _variable(self, name: str) -> str:
        if not self.environment.get(name):
            message = f"Variable {name!r} with the signing secret is not set for the notifier."
            raise ConfigurationError(message)
        return self.environment[name]

    def _answer(self, outbox: Outbox, delivery: ClaimedDelivery, name: str) -> Mapping[str, Any]:
        grant = outbox.request_secret(delivery, name)
        if grant.grant_id is None:
            message = f"{grant.message} Store it with `ipai secret set {name}`."
            raise SecretError(message)
        return outbox.read_secret(grant.grant_id)

    def _opened(self, part: Mapping[str, Any]) -> str:
        if "value" in part:
            return str(part["value"])
        return unseal(self.ring_file.read(), Sealed.of(part["sealed"]))
