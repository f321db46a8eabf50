# SPDX-License-Identifier: Apache-2.0
"""What IPAI taps and targets lean on."""
