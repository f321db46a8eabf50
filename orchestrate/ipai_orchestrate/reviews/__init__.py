# SPDX-License-Identifier: Apache-2.0
"""Reviews that people sign: access by month, credentials by quarter, retention by year."""

from ipai_orchestrate.reviews.book import Review, ReviewBook
from ipai_orchestrate.reviews.period import KINDS, day_of

__all__ = ["KINDS", "Review", "ReviewBook", "day_of"]
