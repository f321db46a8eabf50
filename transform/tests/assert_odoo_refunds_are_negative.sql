-- SPDX-License-Identifier: Apache-2.0
-- Signed totals of posted invoices: what customers owe is positive, refunds turn it around; for vendors the other way.
-- What is open never exceeds the total.
select instance_id, id, name, move_type, amount_total_signed, amount_residual_signed
from {{ live(ref('odoo_invoices')) }} as i
where state = 'posted'
    and (
        (move_type in ('out_invoice', 'out_receipt', 'in_refund') and amount_total_signed < 0)
        or (move_type in ('in_invoice', 'in_receipt', 'out_refund') and amount_total_signed > 0)
        or abs(amount_residual_signed) > abs(amount_total_signed)
    )
