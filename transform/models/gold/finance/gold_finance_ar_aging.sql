-- SPDX-License-Identifier: Apache-2.0
{{ config(contract={'enforced': aging_as_in_contract()}, post_hook='{{ describe_buckets() }}') }}
{{ open_items('asset_receivable', 1, 'select current_date as as_of_date') }}
