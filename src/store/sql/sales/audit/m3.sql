-- Effects that happened more than once, or not as often as they were counted.
SELECT 'payment ' || COALESCE(payment_id, 'unknown') || ' was posted ' || COUNT(*) || ' times' AS violation
FROM ledger_entries
WHERE kind = 'payment'
GROUP BY payment_id
HAVING COUNT(*) > 1
UNION ALL
SELECT 'reservation ' || reservation_id || ' was paid ' || COUNT(*) || ' times'
FROM payments
WHERE state IN ('succeeded', 'refunding', 'refunded')
  -- What a provider took after it was given up goes back whole.
  AND (method = 'wallet' OR live = 1 OR refunded_minor <> amount_minor)
GROUP BY reservation_id
HAVING COUNT(*) > 1
UNION ALL
SELECT 'payment ' || p.id || ' counts ' || p.refunds || ' refunds, posted were ' || COUNT(e.id)
FROM payments p
LEFT JOIN ledger_entries e ON e.payment_id = p.id AND e.kind = 'refund'
GROUP BY p.id, p.refunds
HAVING COUNT(e.id) <> p.refunds
