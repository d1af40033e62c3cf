-- The next event of aggregate $1: kind $2, payload $3, partition $4, now $5, trace $6.
INSERT INTO outbox (
    aggregate, version, kind, payload, partition_no, created_at,
    attempts, next_attempt_at, dead, trace
)
SELECT $1, COALESCE(MAX(version), 0) + 1, $2, $3, $4, $5, 0, 0, FALSE, $6
FROM outbox
WHERE aggregate = $1
