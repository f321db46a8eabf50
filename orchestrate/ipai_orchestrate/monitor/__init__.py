# SPDX-License-Identifier: Apache-2.0
"""What the platform says about itself: metrics for Prometheus, alerts for people."""

from ipai_orchestrate.monitor.alerts import (
    Alert,
    AlertBook,
    AlertChange,
    AlertRoute,
    AlertRule,
    Recipient,
)
from ipai_orchestrate.monitor.metrics import Sample, exposition, read_metrics

__all__ = [
    "Alert",
    "AlertBook",
    "AlertChange",
    "AlertRoute",
    "AlertRule",
    "Recipient",
    "Sample",
    "exposition",
    "read_metrics",
]
