# SPDX-License-Identifier: Apache-2.0
"""singer-sdk's standard tests of a tap, against its own stand-in.

class TestStandard(standard_tap_tests(TapJira)):
    pass
"""

from collections.abc import Iterator
from typing import Any

import pytest
from singer_sdk import Tap
from singer_sdk.testing import SuiteConfig, get_tap_test_class

from ipai_kit.sandbox.command import find_factory
from ipai_kit.sandbox.server import served

_NOWHERE = "http://127.0.0.1:9"


def standard_tap_tests(
    tap_class: type[Tap],
    source: str,
    *,
    suite_config: SuiteConfig | None = None,
    **sandbox_options: Any,
) -> type:
    """A test class to derive from; the stand-in runs while its tests do."""
    app = find_factory(source)(**sandbox_options)
    # singer-sdk collects the streams now and reads later: the same dict gets the true address
    settings = app.state.sandbox.config_for(_NOWHERE)
    tests = get_tap_test_class(
        tap_class, config=settings, suite_config=suite_config, parse_env_config=False
    )

    class StandardTapTests(tests):  # type: ignore[misc, valid-type]  # made at run time
        """The suite with a server below it."""

        @pytest.fixture(scope="class", autouse=True)
        @classmethod
        def running_source(cls) -> Iterator[None]:
            """Serve the stand-in and point the configuration at it."""
            with served(app) as url:
                settings.update(app.state.sandbox.config_for(url))
                yield

    return StandardTapTests
