-- Two live tickets, or two confirmed reservations, of one seat.
SELECT 'seat ' || performance_id || '/' || seat_id || ' has ' || COUNT(*) || ' live tickets' AS violation
FROM tickets
WHERE live = 1
GROUP BY performance_id, seat_id
HAVING COUNT(*) > 1
UNION ALL
SELECT 'seat ' || r.performance_id || '/' || rs.seat_id || ' is in ' || COUNT(*) || ' confirmed reservations'
FROM reservations r
JOIN reservation_seats rs ON rs.reservation_id = r.id
WHERE r.state = 'confirmed'
GROUP BY r.performance_id, rs.seat_id
HAVING COUNT(*) > 1
