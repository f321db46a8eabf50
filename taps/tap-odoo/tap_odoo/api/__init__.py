# SPDX-License-Identifier: Apache-2.0
"""Odoo's external API: JSON-RPC until 18, JSON-2 from 19 on."""
