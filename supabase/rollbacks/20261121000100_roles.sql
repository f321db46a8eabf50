-- SPDX-License-Identifier: Apache-2.0
-- Takes back migration 20261121000100_roles. Roles belong to the whole server and may be in use by
-- other databases and logins: they stay. Without grants they can do nothing.

select 'roles stay' as note;
