-- The first performance (or $2, unless it is empty) that began by $1, whose sale
-- had closed by then, which still has its house, and in which nobody holds
-- anything; of one that is cancelled, to whom nothing is owed any more.
SELECT performance.id, CAST(CASE WHEN performance.archived_at IS NULL THEN 0 ELSE 1 END AS BIGINT) AS is_archived
FROM performances AS performance
WHERE ($2 = '' OR performance.id = $2)
  AND performance.starts_at <= $1
  AND COALESCE(performance.sale_closes_at, performance.starts_at) <= $1
  AND EXISTS (SELECT 1 FROM sections WHERE sections.performance_id = performance.id)
  AND (performance.archived_at IS NOT NULL OR NOT EXISTS (
      SELECT 1
      FROM seats
      WHERE seats.performance_id = performance.id
        AND (seats.state = 'held' OR (seats.state = 'sold' AND performance.state <> 'scheduled'))
  ))
ORDER BY performance.starts_at, performance.id
LIMIT 1
