-- SPDX-License-Identifier: Apache-2.0
-- The calls about reviews. Each query stands under a line with its name.

-- take --
-- Make and store a report.
select id from connectors.take_review(kind => %(kind)s, day => %(day)s, measured => %(measured)s);

-- sign --
-- Sign what was seen.
select connectors.sign_review(review_id => %(id)s, content_hash => %(content_hash)s, note => %(note)s) as audit_seq;

-- reviews --
-- Reports and their signatures, the newest first.
select id, kind, starts_on, ends_on, taken_at, taken_by, entries, content, content_hash, signed_at, signed_by, note, audit_seq
from connectors.review_list(kind => %(kind)s, starts_on => %(day)s, "limit" => %(limit)s);

-- tables --
-- The tables of the layers.
select relation, is_table, loaded_column from connectors.layer_tables();

-- signatures --
-- What the chained log says was signed.
select seq, secret_id as review_id, detail, actor from connectors.secret_audit where action = 'review' order by seq;

-- signed --
-- All signed reports.
select id, content::text as content, content_hash, audit_seq, signed_by from connectors.reviews where signed_at is not null;
