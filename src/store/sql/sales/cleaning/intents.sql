-- Up to $3 intents that were declined by $1, made before $2, of which nothing
-- came later, and which no reservation names. A look with a LIMIT, instead of
-- EXISTS: for that MariaDB would list all refunds.
SELECT intent.id, COALESCE(reservation.performance_id, '') AS performance_id
FROM payment_intents AS intent
LEFT JOIN payments AS payment ON payment.id = intent.id
LEFT JOIN reservations AS reservation ON reservation.id = payment.reservation_id
WHERE intent.state = 'declined' AND intent.settled_at <= $1 AND intent.created_at < $2
  AND (payment.id IS NULL OR (payment.state = 'declined' AND COALESCE(reservation.payment_id, '') <> intent.id))
  AND (SELECT 1 FROM gateway_refunds WHERE gateway_refunds.intent_id = intent.id LIMIT 1) IS NULL
ORDER BY intent.settled_at, intent.id
LIMIT $3
