-- Up to $3 holds that were over by $1, made before $2, for which no money came.
-- Looks with a LIMIT, instead of EXISTS: for that MariaDB would list all there are.
SELECT hold.id, hold.performance_id
FROM reservations AS hold
WHERE hold.state IN ('expired', 'released') AND hold.expires_at <= $1 AND hold.created_at < $2
  AND (SELECT 1 FROM seats WHERE seats.reservation_id = hold.id LIMIT 1) IS NULL
  AND (
      SELECT 1
      FROM payments AS payment
      LEFT JOIN payment_intents AS intent ON intent.id = payment.id
      WHERE payment.reservation_id = hold.id
        AND (payment.state <> 'declined' OR payment.refunds > 0 OR payment.created_at >= $2
          OR COALESCE(intent.state, 'declined') <> 'declined' OR COALESCE(intent.settled_at, 0) > $1
          OR (SELECT 1 FROM gateway_refunds WHERE gateway_refunds.intent_id = payment.id LIMIT 1) = 1)
      LIMIT 1
  ) IS NULL
ORDER BY hold.state, hold.expires_at
LIMIT $3
