# SPDX-License-Identifier: Apache-2.0
"""What holds for the tests of every package."""

import pytest

from ipai_kit import logs


@pytest.fixture(autouse=True)
def _secrets_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    # The redactor lives as long as the process: what one test calls a secret must not be masked
    # in the messages that another one reads.
    monkeypatch.setattr(logs._redactor, "_values", frozenset())
    monkeypatch.setattr(logs._redactor, "_needles", ())
