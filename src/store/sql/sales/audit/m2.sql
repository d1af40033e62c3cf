-- Wallets that are, or ever were, below zero.
SELECT 'account ' || name || ' has ' || balance_minor || ' ' || currency AS violation
FROM accounts
WHERE name LIKE 'user:%' AND balance_minor < 0
UNION ALL
SELECT 'account ' || account || ' had ' || balance_after_minor || ' ' || currency || ' after posting ' || sequence
FROM ledger_postings
WHERE account LIKE 'user:%' AND balance_after_minor < 0
