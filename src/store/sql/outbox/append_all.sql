-- The next events of the aggregates of a list (n, about, place, named, body,
-- part, trace), each the next but as many as its place says, at time $1.
INSERT INTO outbox (
    aggregate, version, kind, payload, partition_no, created_at,
    attempts, next_attempt_at, dead, trace
)
SELECT
    v.about,
    (SELECT COALESCE(MAX(version), 0) FROM outbox WHERE aggregate = v.about) + v.place,
    v.named, v.body, v.part, $1, 0, 0, FALSE, v.trace
FROM {list}
ORDER BY v.n
