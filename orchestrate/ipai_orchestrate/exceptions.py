# SPDX-License-Identifier: Apache-2.0
"""Errors of the orchestrator, told apart by what the reader can do about them.

OrchestrateError                  70  our bug, unless a subclass says otherwise
├── ConfigurationError            78  change a setting and try again
│   ├── DeclarationError          78  reviewed files have mistakes; carries their places
│   ├── SecretError               78  a secret is not there, not due, or does not open
│   └── ServerTooOldError         78  the PostgreSQL server lacks what the control plane needs
├── CredentialsRefusedError       77  an issuer refuses a grant: sign in again; carries its code
├── TokenEndpointError            75  an issuer gives no token now; trying again later may help
├── DatabaseUnavailableError      75  the database cannot be reached or started now
├── MigrationError                78  the schema and this version of the program do not fit
└── ControlPlaneError              1  the control plane refused; carries SQLSTATE, detail and hint
    ├── NotFoundError              1  no such connector, instance, run or version
    ├── ConflictError             78  in another status: first do what the hint says
    │   └── BusyError             75  something is active or was quicker: trying again later helps
    ├── LeaseLostError            75  another worker owns the run: stop, write nothing more
    └── RefusedError              78  the value itself is not acceptable
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from ipai_kit.spec import SpecProblem


class OrchestrateError(Exception):
    """Something in the orchestrator went wrong."""

    exit_code: ClassVar[int] = 70


class ConfigurationError(OrchestrateError):
    """A setting does not fit; the text names it and what to write instead."""

    exit_code: ClassVar[int] = 78


class DeclarationError(ConfigurationError):
    """Reviewed files cannot be applied: `problems` says where and why."""

    def __init__(self, problems: Sequence[SpecProblem]) -> None:
        self.problems = list(problems)
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(f"Nothing was applied: {len(self.problems)} problem(s):\n{lines}")


class SecretError(ConfigurationError):
    """A secret is missing, is not for who asks, or does not open with the keys at hand."""


class ServerTooOldError(ConfigurationError):
    """The PostgreSQL server is older than the control plane runs on."""


class CredentialsRefusedError(OrchestrateError):
    """The issuer of a grant refuses it; only a new login helps."""

    exit_code: ClassVar[int] = 77

    def __init__(self, message: str, *, code: str) -> None:
        self.code = code
        super().__init__(message)


class TokenEndpointError(OrchestrateError):
    """The issuer of a grant gives no token now; trying again later may help."""

    exit_code: ClassVar[int] = 75


class DatabaseUnavailableError(OrchestrateError):
    """The database cannot be reached or started; trying again later may help."""

    exit_code: ClassVar[int] = 75


class MigrationError(OrchestrateError):
    """The migrations in the database and those of this program do not fit together."""

    exit_code: ClassVar[int] = 78


class ControlPlaneError(OrchestrateError):
    """The control plane refused a call."""

    exit_code: ClassVar[int] = 1

    def __init__(
        self, message: str, *, sqlstate: str = "", detail: str = "", hint: str = ""
    ) -> None:
        self.message = message
        self.sqlstate = sqlstate
        self.detail = detail
        self.hint = hint
        super().__init__(" ".join(part for part in (message, detail, hint) if part))


class NotFoundError(ControlPlaneError):
    """The named connector, instance, run or version does not exist."""


class ConflictError(ControlPlaneError):
    """The thing exists, but in a status that forbids the call until somebody changes it."""

    exit_code: ClassVar[int] = 78


class BusyError(ConflictError):
    """Something else is active or was quicker; the same call later may well succeed."""

    exit_code: ClassVar[int] = 75


class LeaseLostError(ControlPlaneError):
    """The run belongs to another worker now, or has ended."""

    exit_code: ClassVar[int] = 75


class RefusedError(ControlPlaneError):
    """The given value breaks a rule, for example a state that would lose bookmarks."""

    exit_code: ClassVar[int] = 78
