-- What decides about a sale of performance $1 to user $2 with activation $3,
-- at time $4, besides reservation $5. Its house is not read.
SELECT
    p.state,
    p.currency,
    p.starts_at,
    p.sale_opens_at,
    p.sale_closes_at,
    p.hold_ttl_ms,
    p.hold_total_max_ms,
    p.seats_per_user_max,
    COALESCE(own.room_id, concert.room_id) AS room_id,
    (
        SELECT CAST(COALESCE(SUM(available + held), 0) AS BIGINT)
        FROM sections
        WHERE performance_id = p.id
    ) AS open_seats,
    (
        SELECT COUNT(*)
        FROM seats
        WHERE performance_id = p.id AND user_id = $2
            AND (state = 'sold' OR (state = 'held' AND held_until > $4))
    ) AS seats_of_user,
    (
        SELECT COUNT(*)
        FROM reservations
        WHERE activation_id = $3 AND id <> $5
            AND state = 'held' AND expires_at > $4
    ) AS other_holds,
    a.id AS pass_id,
    a.room_id AS pass_room,
    a.user_id AS pass_user,
    a.state AS pass_state,
    a.expire_time AS pass_expire_time
FROM performances AS p
LEFT JOIN protects AS own
    ON own.target_kind = 'performance' AND own.target_id = p.id
LEFT JOIN protects AS concert
    ON concert.target_kind = 'concert' AND concert.target_id = p.concert_id
LEFT JOIN activations AS a ON a.id = $3
WHERE p.id = $1
