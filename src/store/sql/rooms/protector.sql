-- The room that protects $1: named itself, else through its concert.
SELECT room_id
FROM (
    SELECT room_id, 0 AS via_concert
    FROM protects
    WHERE target_id = $1
      AND target_kind IN ('performance', 'campaign')
    UNION ALL
    SELECT protects.room_id, 1 AS via_concert
    FROM performances
    JOIN protects
      ON protects.target_kind = 'concert'
     AND protects.target_id = performances.concert_id
    WHERE performances.id = $1
) AS candidates
ORDER BY via_concert
LIMIT 1
