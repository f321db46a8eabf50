-- SPDX-License-Identifier: Apache-2.0
{{ open_items('asset_receivable', 1, 'select current_date as as_of_date') }}
