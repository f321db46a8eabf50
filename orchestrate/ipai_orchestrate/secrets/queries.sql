-- SPDX-License-Identifier: Apache-2.0
-- The calls about secrets. Each query stands under a line with its name.

-- sealing --
-- Whether the server seals secrets itself, or keeps what clients have sealed.
select connectors.secret_sealing() as sealing;

-- create --
-- Store a new secret.
select id, version from connectors.create_secret(
    name => %(name)s, value => %(value)s, sealed => %(sealed)s, description => %(description)s,
    expires_at => %(expires_at)s);

-- rotate --
-- Replace a value.
select id, version, cancelled from connectors.rotate_secret(
    name => %(name)s, value => %(value)s, sealed => %(sealed)s, overlap => %(overlap)s::text::interval,
    revoke => %(revoke)s, expires_at => %(expires_at)s);

-- delete --
-- Forget a secret.
select connectors.delete_secret(name => %(name)s, force => %(force)s);

-- list --
-- The secrets, without values.
select * from connectors.secret_list();

-- keys --
-- How many values each key seals.
select key_id, sealed_by, secrets from connectors.secret_keys();

-- rewrap --
-- Let the server seal what it has sealed under its newest key.
select connectors.rewrap_secrets() as changed;

-- client_sealed --
-- What clients have sealed.
select id, secret, key_id, nonce from connectors.client_sealed_secrets();

-- store_rewrapped --
-- Store a data key that was sealed anew.
select connectors.store_rewrapped_secret(
    id => %(id)s, old_secret => %(old_secret)s, new_secret => %(new_secret)s, new_key_id => %(new_key_id)s) as stored;

-- request --
-- Phase 1 for the holder of a run.
select grant_id, outcome, message from connectors.request_secret(
    run_id => %(run_id)s, lease_token => %(lease_token)s, name => %(name)s);

-- request_for_instance --
-- Phase 1 for who checks an instance.
select grant_id, outcome, message from connectors.request_instance_secret(
    instance_id => %(instance_id)s, name => %(name)s);

-- read --
-- Phase 2.
select connectors.read_secret(
    grant_id => %(grant_id)s, run_id => %(run_id)s, lease_token => %(lease_token)s) as answer;

-- audit --
-- The log after a row.
select seq, at, actor, action, secret_name, secret_id, run_id, detail, hash
from connectors.secret_audit_list(after_seq => %(after_seq)s, "limit" => %(limit)s, secret_name => %(secret_name)s);

-- audit_head --
-- The last row of the log, as the database knows it.
select seq, hash from connectors.secret_audit_head;

-- store_grant --
-- Store what a user has granted.
select connectors.store_oauth_grant(
    name => %(name)s, token_url => %(token_url)s, client_id => %(client_id)s, value => %(value)s, sealed => %(sealed)s,
    scopes => %(scopes)s, description => %(description)s, expires_at => %(expires_at)s,
    access_expires_at => %(access_expires_at)s) as version;

-- lock_grant --
-- Be the only one to renew it, until the transaction ends.
select version, status, failure from connectors.lock_oauth_grant(
    run_id => %(run_id)s, lease_token => %(lease_token)s, name => %(name)s);

-- save_grant --
-- Store a renewed pair.
select connectors.save_oauth_tokens(
    run_id => %(run_id)s, name => %(name)s, expected_version => %(version)s, value => %(value)s, sealed => %(sealed)s,
    access_expires_at => %(access_expires_at)s, expires_at => %(expires_at)s) as version;

-- fail_grant --
-- Its issuer refuses it.
select connectors.fail_oauth_grant(
    run_id => %(run_id)s, name => %(name)s, expected_version => %(version)s, failure => %(failure)s) as done;
