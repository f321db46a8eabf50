# SPDX-License-Identifier: Apache-2.0
"""What the platform says about itself: metrics for Prometheus, alerts for people."""

from ipai_orchestrate.monitor.alerts import Alert, AlertBook, AlertChange, AlertRule
from ipai_orchestrate.monitor.metrics import Sample, exposition, read_metrics

__all__ = [
    "Alert",
    "AlertBook",
    "AlertChange",
    "AlertRule",
    "Sample",
    "exposition",
    "read_metrics",
]
