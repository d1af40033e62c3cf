-- Accounts that are not the fold of their postings, and gaps in the postings.
SELECT 'account ' || a.name || ' has ' || a.balance_minor || ' ' || a.currency || ' after ' || a.postings
       || ' postings, the ledger says ' || COALESCE(SUM(p.amount_minor), 0) || ' after ' || COUNT(p.sequence) AS violation
FROM accounts a
LEFT JOIN ledger_postings p ON p.account = a.name AND p.currency = a.currency
GROUP BY a.name, a.currency, a.balance_minor, a.postings
HAVING a.balance_minor <> COALESCE(SUM(p.amount_minor), 0)
    OR a.postings <> COUNT(p.sequence) OR a.postings <> COALESCE(MAX(p.sequence), 0)
UNION ALL
SELECT 'posting ' || account || '/' || currency || '/' || sequence || ' says ' || balance_after_minor
       || ', the postings up to it sum to ' || folded
FROM (
    SELECT account, currency, sequence, balance_after_minor,
           SUM(amount_minor) OVER (PARTITION BY account, currency ORDER BY sequence) AS folded
    FROM ledger_postings
) AS running
WHERE balance_after_minor <> folded
UNION ALL
SELECT 'postings to ' || p.account || ' have no account in ' || p.currency
FROM ledger_postings p
LEFT JOIN accounts a ON a.name = p.account AND a.currency = p.currency
WHERE a.name IS NULL
GROUP BY p.account, p.currency
