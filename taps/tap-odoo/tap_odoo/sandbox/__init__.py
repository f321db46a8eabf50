# SPDX-License-Identifier: Apache-2.0
"""A stand-in for an Odoo server of versions 16 to 19: two companies and a little of everything."""

from tap_odoo.sandbox.server import create_app
from tap_odoo.sandbox.versions import WireField, wire_fields
from tap_odoo.sandbox.world import World

__all__ = ["WireField", "World", "create_app", "wire_fields"]
