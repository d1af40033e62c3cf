-- Payments whose postings do not follow from their state.
SELECT 'payment ' || p.id || ' is ' || p.state || ' and has taken ' || COALESCE(SUM(-l.amount_minor), 0)
       || ' of ' || p.amount_minor AS violation
FROM payments p
LEFT JOIN ledger_entries e ON e.payment_id = p.id AND e.kind = 'payment'
LEFT JOIN ledger_postings l ON l.entry_id = e.id AND l.account = 'user:' || p.user_id AND l.currency = p.currency
WHERE p.method = 'wallet'
GROUP BY p.id, p.state, p.amount_minor
HAVING COALESCE(SUM(-l.amount_minor), 0)
    <> CASE WHEN p.state IN ('succeeded', 'refunding', 'refunded') THEN p.amount_minor ELSE 0 END
UNION ALL
SELECT 'payment ' || id || ' is in no known state: ' || state
FROM payments
WHERE state NOT IN ('pending', 'succeeded', 'declined', 'refunding', 'refunded')
