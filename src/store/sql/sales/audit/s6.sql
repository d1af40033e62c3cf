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
