-- What decides about each command of a list (n, performance, buyer, activation,
-- reservation, counts) at time $1, besides its own reservation. No house is read.
SELECT
    v.n,
    p.state,
    p.version,
    p.seats_version,
    p.currency,
    p.concert_id,
    p.starts_at,
    p.sale_opens_at,
    p.sale_closes_at,
    p.hold_ttl_ms,
    p.hold_total_max_ms,
    p.seats_per_user_max,
    COALESCE(own.room_id, concert.room_id) AS room_id,
    CASE WHEN v.counts = 1 THEN (
        SELECT CAST(COALESCE(SUM(available + held), 0) AS BIGINT)
        FROM sections
        WHERE performance_id = p.id
    ) ELSE 0 END AS open_seats,
    CASE WHEN v.buyer <> '' THEN (
        SELECT COUNT(*)
        FROM seats
        WHERE performance_id = p.id AND user_id = v.buyer
            AND (state = 'sold' OR (state = 'held' AND held_until > $1))
    ) ELSE 0 END AS seats_of_user,
    CASE WHEN v.counts = 1 THEN (
        SELECT COUNT(*)
        FROM reservations
        WHERE activation_id = v.activation AND id <> v.reservation
            -- Hidden from the index of those that are due.
            AND COALESCE(state, '') = 'held' AND COALESCE(expires_at, 0) > $1
    ) ELSE 0 END AS other_holds,
    a.id AS pass_id,
    a.room_id AS pass_room,
    a.user_id AS pass_user,
    a.state AS pass_state,
    a.expire_time AS pass_expire_time
FROM {list}
LEFT JOIN performances AS p ON p.id = v.performance
LEFT JOIN protects AS own
    ON own.target_kind = 'performance' AND own.target_id = p.id
LEFT JOIN protects AS concert
    ON concert.target_kind = 'concert' AND concert.target_id = p.concert_id
LEFT JOIN activations AS a ON a.id = v.activation
