-- Entries that do not sum to zero, and currencies that do not.
SELECT 'entry ' || entry_id || ' sums to ' || SUM(amount_minor) || ' ' || currency AS violation
FROM ledger_postings
GROUP BY entry_id, currency
HAVING SUM(amount_minor) <> 0
UNION ALL
SELECT 'entry ' || e.id || ' has no postings'
FROM ledger_entries e
WHERE NOT EXISTS (SELECT 1 FROM ledger_postings p WHERE p.entry_id = e.id)
UNION ALL
SELECT 'balances of ' || currency || ' sum to ' || SUM(balance_minor)
FROM accounts
GROUP BY currency
HAVING SUM(balance_minor) <> 0
