# SPDX-License-Identifier: Apache-2.0
"""What an Odoo database says about itself: models, fields, columns, companies."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from ipai_kit.exceptions import ConfigurationError, CredentialsError
from tap_odoo.fields import Field, Model
from tap_odoo.postgres.companies import Companies, Company

__all__ = ["Catalog"]

_LOG = logging.getLogger("tap-odoo")

_OLDEST, _PROPERTIES_UNTIL = 16, 17


class Fetch(Protocol):
    """Runs a small query."""

    def __call__(
        self, query: str, values: Mapping[str, Any] | None = None
    ) -> list[tuple[Any, ...]]:
        """Return the rows."""
        ...


_VERSION = """
select substring(latest_version from '^(?:saas~)?([0-9]+)')::integer
from ir_module_module where name = 'base'
"""
_COLUMNS = """
select c.relname, a.attname, t.typname, has_column_privilege(c.oid, a.attnum, 'select')
from pg_class as c
join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
join pg_type as t on t.oid = a.atttypid
where c.relname = any(%(tables)s) and pg_table_is_visible(c.oid)
"""
_IS_HIDDEN = """
select exists (
  select from pg_class as c
  where c.relname = 'ir_module_module' and not has_schema_privilege(c.relnamespace, 'usage')
)
"""
_FIELDS = """
select
  f.model, f.name, f.ttype, coalesce(f.store, false), coalesce(f.translate, false),
  {company_dependent}, coalesce(f.relation, ''), f.relation_table, f.column1, f.column2,
  f.field_description ->> 'en_US', f.id
from ir_model_fields as f
where f.model = any(%(models)s)
"""
# Until 17 nothing in the database says that a field has a value for each company, before one is
# set: neither its column, nor a mark. Those of partners and products that no row may tell of:
_KNOWN = (
    ("product.product", "standard_price"),
    ("product.template", "project_id"),
    ("product.template", "project_template_id"),
    ("product.template", "responsible_id"),
    ("product.template", "service_to_purchase"),
    ("res.partner", "barcode"),
    ("res.partner", "credit_limit"),
)
_PROPERTIES = """
select f.model, f.name, f.id
from ir_model_fields as f
where not coalesce(f.store, false)
  and coalesce(f.related, '') = ''
  and coalesce(f.depends, '') = ''
  and f.name <> 'property_product_pricelist'  -- computed, although it has rows
  and (
    starts_with(f.name, 'property_')
    or f.model || '.' || f.name = any(%(known)s)
    or f.id in (select fields_id from ir_property)
  )
"""
_DEFAULTS = """
select f.model, f.name, d.company_id, d.json_value
from ir_default as d
join ir_model_fields as f on f.id = d.field_id
where f.company_dependent and d.user_id is null and coalesce(d.condition, '') = ''
order by d.id desc
"""


class Catalog:
    """Answers from the database's own description."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch

    def version(self) -> int:
        """Return the major version; a database without the base module is none of Odoo's."""
        known = self._columns(["ir_module_module", "ir_model_fields"])
        rows = self._fetch(_VERSION) if len(known) == 2 else []
        if not rows and self._fetch(_IS_HIDDEN)[0][0]:
            message = "The role may not use the schema of Odoo's tables."
            raise CredentialsError(message, next_step="Grant usage on schema public to the role.")
        if not rows or rows[0][0] is None:
            message = "The database is none of Odoo's: it has no base module."
            raise ConfigurationError(message, next_step="Correct the database's name.")
        version = int(rows[0][0])
        if version < _OLDEST:
            message = f"Odoo {version} is too old."
            raise ConfigurationError(message, next_step=f"Use {_OLDEST} or later.")
        return version

    def installed(self, names: Sequence[str]) -> list[str]:
        """Return which of these models there are."""
        query = "select model from ir_model where model = any(%(names)s)"
        return [row[0] for row in self._fetch(query, {"names": list(names)})]

    def names(self) -> list[str]:
        """Return all models."""
        return [row[0] for row in self._fetch("select model from ir_model order by model")]

    def check_language(self, language: str) -> None:
        """Refuse a language that no text is translated into, where the role may look it up."""
        if "code" not in self._columns(["res_lang"]).get("res_lang", {}) or language == "en_US":
            return
        known = [row[0] for row in self._fetch("select code from res_lang where active order by 1")]
        if language not in known:
            message = f"The language {language!r} is not installed; the database has {known}."
            raise ConfigurationError(message, next_step="Change language.")

    def companies(self, wanted: Sequence[int], first: int | None) -> list[Company]:
        """Return these companies, or all, the first one at the front."""
        has_path = "parent_path" in self._columns(["res_company"])["res_company"]
        path = "parent_path" if has_path else "id::text"
        query = f"select id, coalesce({path}, id::text) from res_company order by id"  # noqa: S608
        found = [Company(row[0], _path(row[1])) for row in self._fetch(query)]
        ids = [one.id for one in found]
        for one in [*wanted, *([first] if first else [])]:
            if one not in ids:
                message = f"There is no company {one!r}; the database has {ids}."
                raise ConfigurationError(message, next_step="Correct company_id or company_ids.")
        chosen = [one for one in found if not wanted or one.id in wanted]
        return sorted(chosen, key=lambda one: (one.id != first, one.id))

    def values_by_company(self, known: Sequence[Company], version: int) -> Companies:
        """Return where values that differ between companies are kept."""
        if version > _PROPERTIES_UNTIL:
            defaults: dict[tuple[str, str], dict[int | None, str]] = defaultdict(dict)
            for model, name, company, value in self._fetch(_DEFAULTS):
                defaults[model, name][company] = value
            return Companies(known, defaults)
        rows = self._fetch(_PROPERTIES, {"known": [".".join(one) for one in _KNOWN]})
        return Companies(known, property_fields={(row[0], row[1]): row[2] for row in rows})

    def models(self, names: Collection[str], companies: Companies) -> dict[str, Model]:
        """Return these models with their fields; one without a table has no fields."""
        tables = {name.replace(".", "_"): name for name in names}
        columns = self._columns(list(tables))
        found: dict[str, dict[str, Field]] = {name: {} for name in names}
        for row in self._fetch(self._fields_query(), {"models": list(names)}):
            one = self._field(row, columns.get(row[0].replace(".", "_"), {}), companies)
            found[row[0]][one.name] = one
        return {
            name: Model(name, table, fields=found[name] if table in columns else {})
            for table, name in tables.items()
        }

    def _fields_query(self) -> str:
        known = self._columns(["ir_model_fields"])["ir_model_fields"]
        has_it = "company_dependent" in known
        column = "coalesce(f.company_dependent, false)" if has_it else "false"
        return _FIELDS.format(company_dependent=column)

    def _field(self, row: tuple[Any, ...], columns: Mapping[str, str], known: Companies) -> Field:
        (
            model,
            name,
            ttype,
            stored,
            translated,
            per_company,
            relation,
            table,
            here,
            there,
            label,
            _,
        ) = row
        is_link = ttype == "many2many" and table and here and there
        return Field(
            name,
            ttype,
            stored=bool(stored and (name in columns or is_link)),
            translated=translated,
            company_dependent=per_company or (model, name) in known.property_fields,
            relation=relation,
            label=label or "",
            column_type=columns.get(name, ""),
            link=(table, here, there) if is_link else None,
        )

    def _columns(self, tables: Sequence[str]) -> dict[str, dict[str, str]]:
        """Return the columns that may be read; all of a table whose key may not, which fails."""
        found: dict[str, dict[str, str]] = defaultdict(dict)
        closed: dict[str, list[str]] = defaultdict(list)
        for table, column, kind, is_open in self._fetch(_COLUMNS, {"tables": list(tables)}):
            found[table][column] = kind
            if not is_open:
                closed[table].append(column)
        for table, columns in closed.items():
            if "id" not in columns:
                _LOG.warning("the role may not read %s of %s: left out", columns, table)
                found[table] = {k: v for k, v in found[table].items() if k not in columns}
        return found


def _path(text: str) -> list[int]:
    return [int(part) for part in text.split("/") if part]
