-- Counters of a section that its seats do not confirm.
SELECT 'section ' || c.performance_id || '/' || c.ordinal || ' counts '
       || c.available || '+' || c.held || '+' || c.sold || '+' || c.blocked || ' of ' || c.total
       || ', its seats are ' || COALESCE(s.available, 0) || '+' || COALESCE(s.held, 0)
       || '+' || COALESCE(s.sold, 0) || '+' || COALESCE(s.blocked, 0)
       || ' of ' || COALESCE(s.total, 0) AS violation
FROM sections c
-- Of a finished sale that is being deleted the seats go first.
JOIN performances p ON p.id = c.performance_id AND p.archived_at IS NULL
LEFT JOIN (
    SELECT performance_id, section, COUNT(*) AS total,
           SUM(CASE WHEN state = 'available' THEN 1 ELSE 0 END) AS available,
           SUM(CASE WHEN state = 'held' THEN 1 ELSE 0 END) AS held,
           SUM(CASE WHEN state = 'sold' THEN 1 ELSE 0 END) AS sold,
           SUM(CASE WHEN state = 'blocked' THEN 1 ELSE 0 END) AS blocked
    FROM seats
    GROUP BY performance_id, section
) s ON s.performance_id = c.performance_id AND s.section = c.ordinal
WHERE c.total <> COALESCE(s.total, 0)
   OR c.available <> COALESCE(s.available, 0)
   OR c.held <> COALESCE(s.held, 0)
   OR c.sold <> COALESCE(s.sold, 0)
   OR c.blocked <> COALESCE(s.blocked, 0)
   OR c.total <> c.available + c.held + c.sold + c.blocked
   OR c.available < 0 OR c.held < 0 OR c.sold < 0 OR c.blocked < 0
