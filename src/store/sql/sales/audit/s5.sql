-- $1 is now. Users with more seats of a performance than it allows.
SELECT 'user ' || s.user_id || ' has ' || COUNT(*) || ' seats of ' || s.performance_id
       || ', allowed are ' || p.seats_per_user_max AS violation
FROM seats s
JOIN performances p ON p.id = s.performance_id
WHERE s.user_id IS NOT NULL AND (s.state = 'sold' OR (s.state = 'held' AND s.held_until > $1))
GROUP BY s.user_id, s.performance_id, p.seats_per_user_max
HAVING COUNT(*) > p.seats_per_user_max
