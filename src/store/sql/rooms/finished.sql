-- Up to $3 rooms (of them only $4, unless it is empty) that are over: closed since before $1, with no live
-- activation, and nothing to sell at $2 under their protection.
SELECT room.id, room.epoch, CAST(CASE WHEN room.forgotten_at IS NULL THEN 0 ELSE 1 END AS BIGINT) AS is_forgotten
FROM rooms AS room
WHERE ($4 = '' OR room.id = $4) AND (
        room.forgotten_at IS NOT NULL
     OR (
        room.closed_at <= $1
    AND NOT EXISTS (
        SELECT 1
        FROM activations
        WHERE activations.room_id = room.id AND activations.state IN ('activated', 'active')
    )
    AND NOT EXISTS (
        SELECT 1
        FROM protects
        LEFT JOIN performances
          ON (protects.target_kind = 'performance' AND performances.id = protects.target_id)
          OR (protects.target_kind = 'concert' AND performances.concert_id = protects.target_id)
        WHERE protects.room_id = room.id
          AND (protects.target_kind NOT IN ('performance', 'concert')
            OR (performances.state = 'scheduled'
                AND COALESCE(performances.sale_closes_at, performances.starts_at) > $2))
    )
   )
)
ORDER BY is_forgotten, room.closed_at, room.id
LIMIT $3
