# SPDX-License-Identifier: Apache-2.0
"""Says what came of a run: its error class and exit code from how the two connectors ended."""

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from ipai_orchestrate.control_plane import ErrorClass
from ipai_orchestrate.exceptions import (
    ConfigurationError,
    CredentialsRefusedError,
    DatabaseUnavailableError,
    LeaseLostError,
    OrchestrateError,
    TokenEndpointError,
)
from ipai_orchestrate.pipeline.log_line import LogLine
from ipai_orchestrate.pipeline.transfer import Ending

CONFIGURATION, CREDENTIALS, TRY_AGAIN_LATER, INTERNAL, DEAD_LETTERS = 78, 77, 75, 70, 65
INTERRUPTED, TERMINATED = 130, 143

_CLASSES: dict[int, ErrorClass] = {
    CONFIGURATION: "configuration",
    CREDENTIALS: "credentials",
    TRY_AGAIN_LATER: "try_again_later",
    DEAD_LETTERS: "dead_letters",
    INTERNAL: "internal",
}
_STATE_REFUSED = "StateRefusedError"
_SOURCE_SPEAKS = {CONFIGURATION, CREDENTIALS, TRY_AGAIN_LATER}


@dataclass(frozen=True)
class Failure:
    """Why a run failed, and with which code `ipai run` ends."""

    error_class: ErrorClass
    summary: str
    exit_code: int
    retry_at: datetime | None = None
    handed_back: bool = False


def class_of(error: OrchestrateError) -> ErrorClass:
    """The class of a failure that no connector is to blame for."""
    if isinstance(error, ConfigurationError):
        return "configuration"
    if isinstance(error, CredentialsRefusedError):
        return "credentials"
    if isinstance(error, TokenEndpointError):
        return "try_again_later"
    if isinstance(error, DatabaseUnavailableError):
        return "database"
    return "worker_lost" if isinstance(error, LeaseLostError) else "internal"


def judge(ending: Ending, last_errors: Mapping[str, LogLine]) -> Failure | None:
    """None when both connectors did their work; else the failure that caused the other, if any."""
    tap, target = ending.tap_code, ending.target_code
    if tap in _SOURCE_SPEAKS:  # a broken pipe cannot be the reason for these
        return _failure("tap", tap, last_errors)
    if target not in {0, DEAD_LETTERS} or (target and not tap):
        return _failure("target", target, last_errors)
    if tap:
        return _failure("tap", tap, last_errors)
    return None


def _failure(
    who: Literal["tap", "target"], code: int, last_errors: Mapping[str, LogLine]
) -> Failure:
    said = last_errors.get(who)
    is_state = said is not None and said.fields.get("error_class") == _STATE_REFUSED
    return Failure(
        error_class="state" if is_state else _CLASSES.get(code, who),
        summary=_summary(who, code, said),
        exit_code=code if code in _CLASSES else 1,
        retry_at=_retry_at(said.fields) if said else None,
    )


def _summary(who: str, code: int, said: LogLine | None) -> str:
    if code < 0:
        return f"The {who} was killed by {signal.Signals(-code).name}. Run again to continue."
    if said and said.message.strip():
        return said.message.strip()
    return f"The {who} ended with exit code {code} without saying why. Read the run's log."


def _retry_at(fields: Mapping[str, Any]) -> datetime | None:
    try:
        return datetime.fromisoformat(str(fields.get("retry_at")))
    except ValueError:
        return None


def stopped_by(signum: int) -> Failure:
    """The failure of a run that was asked to stop by a signal."""
    code = 128 + signum
    name = signal.Signals(signum).name
    return Failure("cancelled", f"Stopped by {name}. Run again to continue.", code)


def handed_back(signum: int) -> Failure:
    """The ending of a run whose worker has to end before it."""
    summary = "Its worker had to end and gave it back to the queue, where it goes on."
    return Failure("cancelled", summary, 128 + signum, handed_back=True)


def nothing_selected(selectors: Sequence[str]) -> Failure:
    """The failure of a transform whose selectors name nothing: most likely a typing mistake."""
    names = ", ".join(repr(one) for one in selectors)
    summary = f"dbt found nothing to build for {names}. `ipai-dbt ls` lists what there is."
    return Failure("configuration", summary, CONFIGURATION)
