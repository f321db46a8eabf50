-- SPDX-License-Identifier: Apache-2.0
{{ open_items('liability_payable', -1, every_day()) }}
