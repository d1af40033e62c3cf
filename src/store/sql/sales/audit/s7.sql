-- Paid orders without seats, tickets without payment, captures that ended in
-- neither or in both.
SELECT 'reservation ' || r.id || ' is confirmed without a captured payment that it keeps' AS violation
FROM reservations r
WHERE r.state = 'confirmed' AND NOT EXISTS (
    SELECT 1 FROM payments p
    WHERE p.id = r.payment_id AND p.reservation_id = r.id
      AND p.state IN ('succeeded', 'refunding')
      -- A coupon may have taken off all of it.
      AND (p.refunded_minor < p.amount_minor OR (p.amount_minor = 0 AND p.discount_minor > 0))
)
UNION ALL
SELECT 'reservation ' || r.id || ' is confirmed without a ticket for seat ' || rs.seat_id
FROM reservations r
JOIN reservation_seats rs ON rs.reservation_id = r.id
LEFT JOIN seats s ON s.performance_id = r.performance_id AND s.id = rs.seat_id
LEFT JOIN tickets t ON t.performance_id = r.performance_id AND t.seat_id = rs.seat_id
                   AND t.reservation_id = r.id AND t.live = 1
WHERE r.state = 'confirmed'
  AND (t.seat_id IS NULL OR s.id IS NULL OR s.state <> 'sold'
       OR COALESCE(s.reservation_id, '') <> r.id OR s.serial <> t.serial)
UNION ALL
SELECT 'ticket ' || t.performance_id || '/' || t.seat_id || '/' || t.serial || ' is live, its reservation is '
       || COALESCE(r.state, 'missing')
FROM tickets t
LEFT JOIN reservations r ON r.id = t.reservation_id
WHERE t.live = 1 AND COALESCE(r.state, '') <> 'confirmed'
UNION ALL
SELECT 'seat ' || s.performance_id || '/' || s.id || ' is sold without a confirmed reservation'
FROM seats s
LEFT JOIN reservations r ON r.id = s.reservation_id
WHERE s.state = 'sold' AND COALESCE(r.state, '') <> 'confirmed'
UNION ALL
SELECT 'payment ' || p.id || ' is captured, its reservation is ' || COALESCE(r.state, 'missing')
       || ' and ' || (p.amount_minor - p.refunded_minor) || ' of it are not refunded'
FROM payments p
LEFT JOIN reservations r ON r.id = p.reservation_id
WHERE p.state IN ('succeeded', 'refunding', 'refunded')
  AND ((COALESCE(r.state, '') NOT IN ('confirmed', 'cancelled')
        AND (p.method = 'wallet' OR p.refunded_minor <> p.amount_minor))
       OR (r.state = 'cancelled' AND p.refunded_minor <> p.amount_minor)
       OR (r.state = 'confirmed' AND COALESCE(r.payment_id, '') <> p.id
           AND p.refunded_minor <> p.amount_minor))
UNION ALL
SELECT 'payment ' || p.id || ' keeps ' || (p.amount_minor - p.refunded_minor) || ' for seats of ' || r.total_minor
FROM payments p
JOIN reservations r ON r.id = p.reservation_id
WHERE r.state = 'confirmed' AND r.payment_id = p.id AND p.amount_minor - p.refunded_minor > r.total_minor
UNION ALL
SELECT 'ticket ' || t.performance_id || '/' || t.seat_id || '/' || t.serial || ' is live, its reservation '
       || t.reservation_id || ' does not have the seat'
FROM tickets t
LEFT JOIN reservation_seats rs ON rs.reservation_id = t.reservation_id AND rs.seat_id = t.seat_id
WHERE t.live = 1 AND rs.seat_id IS NULL
