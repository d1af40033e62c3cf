-- The oldest $3 events of partition $1 that may be delivered at $2: those
-- neither waiting for their next attempt nor behind one of their aggregate
-- that is. An aggregate is in one partition: saying so keeps PostgreSQL from
-- looking through all that was ever published. Each with the route of the last
-- published one of its aggregate.
SELECT event.id, event.aggregate, event.version, event.kind, event.payload, event.created_at,
       (
           SELECT earlier.route
           FROM outbox AS earlier
           WHERE earlier.aggregate = event.aggregate
             AND earlier.version < event.version
             AND earlier.route IS NOT NULL
           ORDER BY earlier.version DESC
           LIMIT 1
       ) AS last_route
FROM outbox AS event
WHERE event.partition_no = $1
  AND event.dead = FALSE
  AND event.published_at IS NULL
  AND NOT EXISTS (
      SELECT 1
      FROM outbox AS ahead
      WHERE ahead.partition_no = $1
        AND ahead.aggregate = event.aggregate
        AND ahead.version <= event.version
        AND ahead.published_at IS NULL
        AND ahead.dead = FALSE
        AND ahead.next_attempt_at > $2
  )
ORDER BY event.id
LIMIT $3
