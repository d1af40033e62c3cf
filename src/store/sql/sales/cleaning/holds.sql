-- Up to $3 holds that were over by $1, made before $2, for which no money came.
SELECT hold.id, hold.performance_id
FROM reservations AS hold
WHERE hold.state IN ('expired', 'released') AND hold.expires_at <= $1 AND hold.created_at < $2
  AND NOT EXISTS (SELECT 1 FROM seats WHERE seats.reservation_id = hold.id)
  AND NOT EXISTS (
      SELECT 1
      FROM payments AS payment
      LEFT JOIN payment_intents AS intent ON intent.id = payment.id
      WHERE payment.reservation_id = hold.id
        AND (payment.state <> 'declined' OR payment.refunds > 0 OR payment.created_at >= $2
          OR COALESCE(intent.state, 'declined') <> 'declined' OR COALESCE(intent.settled_at, 0) > $1
          OR EXISTS (SELECT 1 FROM gateway_refunds WHERE gateway_refunds.intent_id = payment.id))
  )
ORDER BY hold.state, hold.expires_at
LIMIT $3
