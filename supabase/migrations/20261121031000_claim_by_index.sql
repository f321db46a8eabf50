-- SPDX-License-Identifier: Apache-2.0
-- A claim walks the queue by its index also when most runs of the table are queued: the planner would
-- read and sort all of them, as it does not know that a few are enough.

alter function connectors.claim_connector_job(text, integer, uuid, text[]) set enable_sort = off;
