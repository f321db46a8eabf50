-- SPDX-License-Identifier: Apache-2.0
-- What the demo database of Odoo lacks: reconciliations, in part and in full; a second company with books in euro, with
-- an invoice in dollars that was paid at another rate. Residuals are those that Odoo would have written.

-- INV/2026/00004 (31,750 on line 32) is matched with 20,000 of the refund of 11 November (line 39).
-- INV/2026/00001 (31,750 on line 29) is matched with the whole refund of 2 October (line 35, 11,750).
insert into account_partial_reconcile
    (id, debit_move_id, credit_move_id, company_id, max_date, amount, debit_amount_currency, credit_amount_currency,
     debit_currency_id, credit_currency_id, create_date, write_date)
values
    (1, 32, 39, 1, '2026-11-11', 20000, 20000, 20000, 1, 1, now(), now()),
    (2, 29, 35, 1, '2026-11-01', 11750, 11750, 11750, 1, 1, now(), now());
update account_move_line set amount_residual = 11750, amount_residual_currency = 11750, write_date = now() where id = 32;
update account_move_line set amount_residual = -11750, amount_residual_currency = -11750, write_date = now() where id = 39;
update account_move_line set amount_residual = 20000, amount_residual_currency = 20000, write_date = now() where id = 29;
update account_move_line
set amount_residual = 0, amount_residual_currency = 0, reconciled = true, write_date = now()
where id = 35;

-- The second company keeps its books in euro and ends its year in June.
update res_company
set currency_id = (select id from res_currency where name = 'EUR'), fiscalyear_last_month = '6', fiscalyear_last_day = 30,
    write_date = now()
where id = 2;
insert into res_currency_rate (currency_id, company_id, name, rate, create_date, write_date)
select c.id, 2, r.day::date, r.rate, now(), now()
from (values ('USD', '2026-01-01', 1.25), ('USD', '2026-07-01', 1.1)) as r (currency, day, rate)
join res_currency as c on c.name = r.currency;
update account_account
set code_store = code_store || jsonb_build_object('2', '9' || (code_store ->> '1')), write_date = now();

-- Entry 101: 125 dollars invoiced at 1.25; 102: paid at 1.1; 103: the exchange gain; 104: a bill of 2025; 105: a draft.
create temporary table entries as
select *, case when move_type like 'in%' then -1 else 1 end as sign
from (
    values
        (101, 'out_invoice', 'posted', '2026-06-20'::date, 'USD', 29),
        (102, 'entry', 'posted', '2026-07-15', 'USD', 29),
        (103, 'entry', 'posted', '2026-07-15', 'USD', 29),
        (104, 'in_invoice', 'posted', '2025-09-01', 'EUR', 34),
        (105, 'in_invoice', 'draft', '2025-09-01', 'EUR', 34)
) as e (id, move_type, state, day, currency, like_line);
insert into account_move
select (jsonb_populate_record(
    null::account_move,
    to_jsonb(m) || jsonb_build_object(
        'id', e.id, 'name', 'C2/' || e.id, 'company_id', 2, 'move_type', e.move_type, 'state', e.state, 'date', e.day,
        'invoice_date', e.day, 'currency_id', c.id, 'write_date', now(), 'access_token', null, 'sequence_number', e.id,
        'sequence_prefix', 'C2/', 'amount_total_signed', e.sign * abs(m.amount_total_signed),
        'amount_untaxed_signed', e.sign * abs(m.amount_untaxed_signed),
        'amount_residual_signed', e.sign * abs(m.amount_residual_signed)
    )
)).*
from entries as e
join res_currency as c on c.name = e.currency
join account_move as m on m.id = 1;
insert into account_move_line
select (jsonb_populate_record(
    null::account_move_line,
    to_jsonb(t) || jsonb_build_object(
        'id', l.id, 'move_id', e.id, 'move_name', 'C2/' || e.id, 'company_id', 2, 'parent_state', e.state, 'date', e.day,
        'company_currency_id', (select id from res_currency where name = 'EUR'), 'currency_id', c.id,
        'account_id', (select a.id from account_account as a where a.account_type = l.account_type order by a.id limit 1),
        'balance', l.balance, 'debit', greatest(l.balance, 0), 'credit', greatest(-l.balance, 0),
        'amount_currency', l.amount_currency, 'amount_residual', l.residual, 'amount_residual_currency', l.residual,
        'date_maturity', e.day + 10, 'write_date', now(), 'reconciled', l.residual = 0
    )
)).*
from (
    values
        (1001, 101, 'asset_receivable', 100.00, 125.00, 0.00),
        (1002, 101, 'income', -100.00, -125.00, 0.00),
        (1003, 102, 'asset_cash', 113.64, 125.00, 0.00),
        (1004, 102, 'asset_receivable', -113.64, -125.00, 0.00),
        (1005, 103, 'asset_receivable', 13.64, 0.00, 0.00),
        (1006, 103, 'income_other', -13.64, 0.00, 0.00),
        (1007, 104, 'expense', 77.70, 77.70, 0.00),
        (1008, 104, 'liability_payable', -77.70, -77.70, -77.70),
        (1009, 105, 'expense', 5.00, 5.00, 0.00),
        (1010, 105, 'liability_payable', -5.00, -5.00, -5.00)
) as l (id, entry, account_type, balance, amount_currency, residual)
join entries as e on e.id = l.entry
join res_currency as c on c.name = e.currency
join account_move_line as t on t.id = e.like_line;
insert into account_partial_reconcile
    (id, debit_move_id, credit_move_id, company_id, max_date, amount, debit_amount_currency, credit_amount_currency,
     debit_currency_id, credit_currency_id, create_date, write_date)
select r.id, r.debit, r.credit, 2, '2026-07-15', r.amount, r.currency_amount, r.currency_amount, c.id, c.id, now(), now()
from (values (3, 1001, 1004, 100.00, 125.00), (4, 1005, 1004, 13.64, 0.00)) as r (id, debit, credit, amount, currency_amount)
join res_currency as c on c.name = 'USD';
drop table entries;

-- A discount of 10 % on line 20 of order 9 (3 for 97.50), and two of the five of line 45 came back on a day without sales.
update sale_order_line
set discount = 10, price_subtotal = 263.25, price_total = 263.25, write_date = now()
where id = 20;
update sale_order
set amount_untaxed = amount_untaxed - 29.25, amount_total = amount_total - 29.25, write_date = now()
where id = 9;
insert into stock_move
select (jsonb_populate_record(
    null::stock_move,
    to_jsonb(m) || jsonb_build_object(
        'id', 1001, 'state', 'done', 'date', '2026-11-18 10:00:00', 'quantity', 2, 'product_uom_qty', 2, 'product_qty', 2,
        'location_id', m.location_dest_id, 'location_dest_id', m.location_id, 'write_date', now()
    )
)).*
from stock_move as m
where m.id = 30;
