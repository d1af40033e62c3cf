-- The next $3 events behind id $2, and whether each may be deleted: published
-- by $1, and not the last of an aggregate that may have another event, whose
-- version is counted from it. Nothing follows the release of a slot.
SELECT event.id, event.created_at,
       CAST(CASE WHEN event.published_at <= $1
             AND (event.kind = 'slot.freed' OR EXISTS (
                 SELECT 1
                 FROM outbox AS later
                 WHERE later.aggregate = event.aggregate
                   AND later.version > event.version
             ))
       THEN 1 ELSE 0 END AS BIGINT) AS is_over
FROM outbox AS event
WHERE event.id > $2
ORDER BY event.id
LIMIT $3
