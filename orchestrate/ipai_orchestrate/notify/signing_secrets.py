# SPDX-License-Identifier: Apache-2.0
"""Finds secrets of endpoints: `${NAME}` is a variable, `${secret:NAME}` is in the vault."""

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
    _kept: dict[str, tuple[float, list[str]]] = field(default_factory=dict, repr=False)

    def keys_of(self, outbox: Outbox, delivery: ClaimedDelivery) -> list[bytes]:
        """The keys that sign a delivery: the newest, and those it replaces while both are valid."""
        return [
            signing_key(text, reference)
            for reference in delivery.secret_refs
            for text in self._texts(outbox, delivery, reference)
        ]

    def addresses_of(self, outbox: Outbox, delivery: ClaimedDelivery) -> list[str]:
        """Where a chat is: the newest secret alone."""
        return self._texts(outbox, delivery, delivery.secret_refs[0])[:1]

    def _texts(self, outbox: Outbox, delivery: ClaimedDelivery, reference: str) -> list[str]:
        found = REFERENCE.fullmatch(reference)
        if found is None:
            message = f"Reference {reference!r} cannot be followed. Name a variable or a secret."
            raise ConfigurationError(message)
        if found["variable"]:
            return [self._variable(found["variable"])]
        until, texts = self._kept.get(reference, (0.0, []))
        if time.monotonic() >= until:
            answer = self._answer(outbox, delivery, found["secret"])
            parts = [answer, *([answer["previous"]] if "previous" in answer else [])]
            texts = [self._opened(part) for part in parts]
            self._kept[reference] = (time.monotonic() + KEPT_SECONDS, texts)
        return texts

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
