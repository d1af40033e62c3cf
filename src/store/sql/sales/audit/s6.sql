-- Seats that an ended hold still has, and free seats that someone has.
SELECT 'seat ' || s.performance_id || '/' || s.id || ' is ' || s.state || ' by ' || r.id
       || ', which is ' || r.state AS violation
FROM seats s
JOIN reservations r ON r.id = s.reservation_id
WHERE r.state IN ('released', 'expired', 'cancelled')
UNION ALL
SELECT 'seat ' || performance_id || '/' || id || ' is ' || state || ' and has an owner'
FROM seats
WHERE state IN ('available', 'blocked')
  AND (reservation_id IS NOT NULL OR user_id IS NOT NULL OR held_until IS NOT NULL)
UNION ALL
SELECT 'seat ' || performance_id || '/' || id || ' is ' || state || ' by nobody'
FROM seats
WHERE state IN ('held', 'sold') AND (reservation_id IS NULL OR user_id IS NULL)
UNION ALL
SELECT 'seat ' || performance_id || '/' || id || ' is in no known state: ' || state
FROM seats
WHERE state NOT IN ('available', 'held', 'sold', 'blocked')
UNION ALL
SELECT 'reservation ' || b.reservation_id || ' has seat ' || b.seat_id || ', which it gave back'
FROM returned_seats b
JOIN reservation_seats rs ON rs.reservation_id = b.reservation_id AND rs.seat_id = b.seat_id
UNION ALL
SELECT 'seat ' || s.performance_id || '/' || s.id || ' is ' || s.state || ' by ' || s.reservation_id
       || ', which does not have it'
FROM seats s
LEFT JOIN reservation_seats rs ON rs.reservation_id = s.reservation_id AND rs.seat_id = s.id
WHERE s.reservation_id IS NOT NULL AND rs.seat_id IS NULL
