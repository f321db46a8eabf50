-- SPDX-License-Identifier: Apache-2.0
-- Takes back migration 20261121005300_webhook_secrets.

drop function connectors.request_webhook_secret(bigint, uuid, text);

notify pgrst, 'reload schema';
