-- SPDX-License-Identifier: Apache-2.0
{{ open_items('liability_payable', -1, 'select current_date as as_of_date') }}
