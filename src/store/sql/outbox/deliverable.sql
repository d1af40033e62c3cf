-- The oldest $3 events of partition $1 that may be delivered at $2: those
-- neither waiting for their next attempt nor behind one of their aggregate
-- that is. Each with the route of the last published one of its aggregate.
-- The count is no anti-join, and the order is the index's own, so that a long
-- backlog is never read for one batch, with whatever statistics.
SELECT event.id, event.aggregate, event.version, event.kind, event.payload, event.created_at,
       event.trace,
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
  AND event.next_attempt_at <= $2
  AND (
      SELECT COUNT(*)
      FROM outbox AS ahead
      WHERE ahead.aggregate = event.aggregate
        AND ahead.version < event.version
        AND ahead.published_at IS NULL
        AND ahead.dead = FALSE
        AND ahead.next_attempt_at > $2
  ) < 1
ORDER BY event.published_at, event.id
LIMIT $3
