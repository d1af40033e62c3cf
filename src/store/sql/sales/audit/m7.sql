-- Refunds beyond the capture, or other than the payment says.
SELECT 'payment ' || p.id || ' of ' || p.amount_minor || ' says ' || p.refunded_minor || ' are refunded, posted were '
       || COALESCE(SUM(l.amount_minor), 0) AS violation
FROM payments p
LEFT JOIN ledger_entries e ON e.payment_id = p.id AND e.kind = 'refund'
LEFT JOIN ledger_postings l ON l.entry_id = e.id AND l.currency = p.currency
    AND ((p.method = 'gateway' AND l.account LIKE 'external:gateway%')
      OR (p.method <> 'gateway' AND l.account = 'user:' || p.user_id))
GROUP BY p.id, p.amount_minor, p.refunded_minor, p.state
HAVING COALESCE(SUM(l.amount_minor), 0) > p.amount_minor
    OR COALESCE(SUM(l.amount_minor), 0) <> p.refunded_minor
    OR p.refunded_minor < 0 OR p.refunded_minor > p.amount_minor
    OR (p.state = 'refunded' AND p.refunded_minor <> p.amount_minor)
    OR (p.state IN ('pending', 'declined') AND p.refunded_minor <> 0)
