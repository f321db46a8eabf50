# SPDX-License-Identifier: Apache-2.0
"""What makes a target a program: its name, its settings, its store."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ipai_kit.landing.events import EventLog
from ipai_kit.landing.settings import LandingSettings
from ipai_kit.landing.store import Store


@dataclass(frozen=True)
class Landing:
    """A run's settings and the store that they lead to; not opened yet."""

    settings: LandingSettings
    make_store: Callable[[EventLog, threading.Event], Store]
    """Given where to report to and what is set once the run is asked to stop."""


@dataclass(frozen=True)
class TargetProgram:
    """A target as the command line knows it."""

    name: str
    config_schema: Mapping[str, Any]
    prepare: Callable[[Mapping[str, Any], Mapping[str, str]], Landing]
    """Checks a configuration and an environment; raises ConfigurationError."""
    full_command: str
    """`module:class` of the singer-sdk target with `cli()`, for what a plain call does not need."""
    quiet_loggers: tuple[str, ...] = ()
    """Loggers of libraries whose warnings the target reports itself."""
