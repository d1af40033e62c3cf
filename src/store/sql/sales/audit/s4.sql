-- Holds that were made without an active pass of their user and of the room that
-- protected the seats then, or paid by another. A room that was forgotten took
-- its passes along; one of its id that was made later knows nothing of them.
SELECT 'reservation ' || r.id || ' was held under ' || r.activation_id || ', which was not active then' AS violation
FROM reservations r
LEFT JOIN activations a ON a.id = r.activation_id
WHERE r.activation_id IS NOT NULL
  AND EXISTS (
    SELECT 1 FROM rooms WHERE rooms.id = r.room_id AND rooms.forgotten_at IS NULL AND rooms.created_at <= r.created_at
  )
  AND (a.id IS NULL OR a.user_id <> r.user_id OR a.claimed_at IS NULL OR a.claimed_at > r.created_at
       OR a.expire_time <= r.created_at OR COALESCE(a.ended_at, r.created_at) < r.created_at)
UNION ALL
SELECT 'reservation ' || r.id || ' was protected by ' || COALESCE(r.room_id, 'no room')
       || ' and held under a pass of ' || COALESCE(a.room_id, 'no room')
FROM reservations r
LEFT JOIN activations a ON a.id = r.activation_id
WHERE COALESCE(r.room_id, '') <> COALESCE(a.room_id, '')
  AND (a.id IS NOT NULL OR r.activation_id IS NULL OR EXISTS (
    SELECT 1 FROM rooms WHERE rooms.id = r.room_id AND rooms.forgotten_at IS NULL AND rooms.created_at <= r.created_at
  ))
UNION ALL
SELECT 'payment ' || p.id || ' is of another user than reservation ' || r.id
FROM payments p
JOIN reservations r ON r.id = p.reservation_id
WHERE p.user_id <> r.user_id
UNION ALL
SELECT 'payment ' || p.id || ' was made after the hold ' || r.id || ' had ended'
FROM payments p
JOIN reservations r ON r.id = p.reservation_id
WHERE p.live = 1 AND p.method = 'wallet' AND p.created_at >= r.expires_at
