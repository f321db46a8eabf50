# SPDX-License-Identifier: Apache-2.0
"""Gold back into Odoo: the scripts that let Odoo's database read it through postgres_fdw."""

from ipai_orchestrate.odoo.link import Link, write_scripts

__all__ = ["Link", "write_scripts"]
