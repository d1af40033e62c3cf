-- The next $4 holds that end from $1 to $2, were made for longer than $3, and
-- have not been asked for. What they refer to is looked up for each: it decides
-- about few, and never the order.
SELECT hold.id, hold.performance_id, hold.expires_at
FROM reservations AS hold
LEFT JOIN performances AS performance ON performance.id = hold.performance_id
LEFT JOIN payments AS payment ON payment.id = hold.payment_id
WHERE hold.state = 'held' AND hold.expires_at >= $1 AND hold.expires_at <= $2
  AND hold.pay_asked_at IS NULL AND hold.expires_at - hold.created_at > $3
  AND COALESCE(performance.state, '') = 'scheduled'
  AND COALESCE(payment.state, '') <> 'pending'
ORDER BY hold.expires_at
LIMIT $4
