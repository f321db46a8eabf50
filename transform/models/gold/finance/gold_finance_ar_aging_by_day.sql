-- SPDX-License-Identifier: Apache-2.0
{{ open_items('asset_receivable', 1, every_day()) }}
