# SPDX-License-Identifier: Apache-2.0
"""Finds signing secrets by reference: `${NAME}` is a variable of the notifier's environment."""

import re
from collections.abc import Mapping

from ipai_orchestrate.exceptions import ConfigurationError
from ipai_orchestrate.notify.signature import signing_key

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def resolve_key(reference: str, environment: Mapping[str, str]) -> bytes:
    """The signing key behind a reference."""
    found = _REFERENCE.fullmatch(reference)
    if found is None:
        message = f"Reference {reference!r} cannot be followed. Name a variable, e.g. ${{NAME}}."
        raise ConfigurationError(message)
    if not environment.get(found[1]):
        message = f"Variable {found[1]!r} with the signing secret is not set for the notifier."
        raise ConfigurationError(message)
    return signing_key(environment[found[1]], reference)
