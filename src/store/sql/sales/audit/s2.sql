-- $1 is now. Live holds that share a seat, or do not agree with its row.
SELECT 'seat ' || r.performance_id || '/' || rs.seat_id || ' has ' || COUNT(*) || ' live holds' AS violation
FROM reservations r
JOIN reservation_seats rs ON rs.reservation_id = r.id
WHERE r.state = 'held' AND r.expires_at > $1
GROUP BY r.performance_id, rs.seat_id
HAVING COUNT(*) > 1
UNION ALL
SELECT 'seat ' || r.performance_id || '/' || rs.seat_id || ' is not held by its live hold ' || r.id
FROM reservations r
JOIN reservation_seats rs ON rs.reservation_id = r.id
LEFT JOIN seats s ON s.performance_id = r.performance_id AND s.id = rs.seat_id
WHERE r.state = 'held' AND r.expires_at > $1
  AND (s.id IS NULL OR s.state <> 'held' OR COALESCE(s.reservation_id, '') <> r.id
       OR COALESCE(s.user_id, '') <> r.user_id OR COALESCE(s.held_until, 0) <> r.expires_at)
UNION ALL
SELECT 'seat ' || s.performance_id || '/' || s.id || ' is held without a live hold'
FROM seats s
WHERE s.state = 'held' AND COALESCE(s.held_until, $1 + 1) > $1
  AND NOT EXISTS (
      SELECT 1
      FROM reservations r
      JOIN reservation_seats rs ON rs.reservation_id = r.id
      WHERE r.id = s.reservation_id AND r.state = 'held' AND r.expires_at > $1 AND rs.seat_id = s.id
  )
