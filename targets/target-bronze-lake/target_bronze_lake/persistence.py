# SPDX-License-Identifier: Apache-2.0
"""Work on a store that may be away for a while."""

import math
import random
import time
from collections.abc import Callable
from typing import Final, TypeVar

from ipai_kit.exceptions import ConnectorError
from target_bronze_lake.faults import STORE_ERRORS, explain, may_pass
from target_bronze_lake.settings import Settings

Result = TypeVar("Result")

_FIRST_WAIT: Final = 0.2
_LONGEST_WAIT: Final = 5.0


def never() -> float:
    """The last moment of somebody whom nothing hurries."""
    return math.inf


def persist(
    work: Callable[[], Result],
    settings: Settings,
    notify: Callable[..., None],
    last_moment: Callable[[], float] = never,
) -> Result:
    """Do some work until it succeeds, its error is final, or the time for retries is over."""
    given_up_at = time.monotonic() + settings.retry_seconds
    wait = _FIRST_WAIT
    while True:
        try:
            return work()
        except ConnectorError:
            raise
        except STORE_ERRORS as error:
            given_up_at = min(given_up_at, last_moment())
            if not may_pass(error) or time.monotonic() + wait > given_up_at:
                raise explain(error, settings.place) from error
            notify("retry", level="warning", error=type(error).__name__)
        time.sleep(wait * (0.5 + random.random() / 2))  # noqa: S311 - jitter, no secret
        wait = min(wait * 2, _LONGEST_WAIT)
