-- SPDX-License-Identifier: Apache-2.0
-- Takes back migration 20261121000200_medallion_schemas. A schema that still holds tables refuses to
-- go: what was loaded is dropped by hand or not at all.

drop schema ipai_platinum_core;
drop schema ipai_gold_erp;
drop schema ipai_gold_devops;
drop schema ipai_gold_marketing;
drop schema ipai_gold_core;
drop schema ipai_silver_erp;
drop schema ipai_silver_devops;
drop schema ipai_silver_marketing;
drop schema ipai_silver_core;
drop schema ipai_bronze_erp;
drop schema ipai_bronze_devops;
drop schema ipai_bronze_marketing;
drop schema ipai_bronze_core;
