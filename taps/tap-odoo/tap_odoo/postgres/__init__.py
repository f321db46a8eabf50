# SPDX-License-Identifier: Apache-2.0
"""Odoo's tables, read directly with a role that may only read."""
