-- The next event of aggregate $1: kind $2, payload $3, partition $4, now $5.
INSERT INTO outbox (
    aggregate, version, kind, payload, partition_no, created_at,
    attempts, next_attempt_at, dead
)
SELECT $1, COALESCE(MAX(version), 0) + 1, $2, $3, $4, $5, 0, 0, FALSE
FROM outbox
WHERE aggregate = $1
