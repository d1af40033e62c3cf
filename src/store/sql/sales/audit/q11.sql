-- Activations that are in no state, in two, or whose slot was not freed exactly
-- once. The release of one that ended before $1 may have been pruned.
SELECT 'activation ' || id || ' is ' || state || ' with reason ' || COALESCE(reason, 'none') AS violation
FROM activations
WHERE state NOT IN ('activated', 'active', 'ended')
   OR (state = 'ended' AND (ended_at IS NULL OR COALESCE(reason, '') NOT IN (
        'completed', 'unclaimed', 'absent', 'pass_expired', 'room_closed', 'revoked', 'left', 'merged')))
   OR (state = 'ended' AND ended_at < activated_at)
   OR (state <> 'ended' AND (ended_at IS NOT NULL OR reason IS NOT NULL))
   OR (state = 'active' AND (claimed_at IS NULL OR expire_time IS NULL))
   OR (state = 'activated' AND (claim_by IS NULL OR claimed_at IS NOT NULL))
UNION ALL
SELECT 'place ' || room_id || '/' || lane || '/' || number || ' has ' || COUNT(*) || ' activations'
FROM activations
GROUP BY room_id, lane, number
HAVING COUNT(*) > 1
UNION ALL
SELECT 'activation ' || a.id || ' is ' || a.state || ', its slot was freed ' || COUNT(o.id) || ' times'
FROM activations a
LEFT JOIN outbox o ON o.aggregate = 'activation:' || a.id AND o.kind = 'slot.freed'
GROUP BY a.id, a.state, a.ended_at
HAVING COUNT(o.id) > CASE WHEN a.state = 'ended' THEN 1 ELSE 0 END
    OR (a.state = 'ended' AND a.ended_at >= $1 AND COUNT(o.id) = 0)
