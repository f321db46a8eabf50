# SPDX-License-Identifier: Apache-2.0
"""Tells others what happened: signed webhooks, delivered at least once from the outbox.

queries.sql → outbox (what is due) → notifier (the loop) → delivery (signature, guard, post)
"""

from ipai_orchestrate.notify.notifier import Notifier, NotifierOptions
from ipai_orchestrate.notify.outbox import Outbox
from ipai_orchestrate.notify.records import Delivery, Endpoint

__all__ = ["Delivery", "Endpoint", "Notifier", "NotifierOptions", "Outbox"]
