SELECT base.*,
       CASE WHEN opens_at IS NULL THEN 2 WHEN opens_at <= {anchor} THEN 0 ELSE 1 END AS sort_group,
       CASE WHEN opens_at IS NULL THEN 0 WHEN opens_at <= {anchor} THEN -opens_at ELSE opens_at END AS sort_position
FROM (
    SELECT c.id, c.name, c.description, c.venue, c.version, pr.room_id,
           (SELECT MIN(p.sale_opens_at)
            FROM performances p
            WHERE p.concert_id = c.id AND p.state = 'scheduled'
              AND COALESCE(p.sale_closes_at, p.starts_at) > $1) AS opens_at,
           (SELECT CAST(COALESCE(SUM(s.total), 0) AS BIGINT)
            FROM performances p JOIN sections s ON s.performance_id = p.id
            WHERE p.concert_id = c.id) AS seats,
           (SELECT CAST(COALESCE(SUM(s.available + s.held), 0) AS BIGINT)
            FROM performances p JOIN sections s ON s.performance_id = p.id
            WHERE p.concert_id = c.id) AS open_seats
    FROM concerts c
    LEFT JOIN protects pr ON pr.target_kind = 'concert' AND pr.target_id = c.id
) AS base
