-- SPDX-License-Identifier: Apache-2.0
-- Takes back migration 20261121031000_claim_by_index.

alter function connectors.claim_connector_job(text, integer, uuid, text[]) reset enable_sort;
