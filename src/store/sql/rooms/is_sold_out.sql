-- Whether room $1 protects any seat or campaign, and any seat that is still to be
-- sold or coupon to be issued. A seat that is held may come back: it counts as
-- unsold, unless its performance is cancelled.
WITH guarded AS (
    SELECT performances.id, performances.state
    FROM performances
    JOIN protects
      ON protects.target_kind = 'performance'
     AND protects.target_id = performances.id
    WHERE protects.room_id = $1
    UNION
    SELECT performances.id, performances.state
    FROM performances
    JOIN protects
      ON protects.target_kind = 'concert'
     AND protects.target_id = performances.concert_id
    WHERE protects.room_id = $1
      AND NOT EXISTS (
          SELECT 1
          FROM protects AS itself
          WHERE itself.target_kind = 'performance'
            AND itself.target_id = performances.id
      )
),
offered AS (
    SELECT campaigns.stock, campaigns.issued
    FROM protects
    JOIN campaigns ON campaigns.id = protects.target_id
    WHERE protects.room_id = $1
      AND protects.target_kind = 'campaign'
)
SELECT
    EXISTS (
        SELECT 1
        FROM seats
        JOIN guarded ON guarded.id = seats.performance_id
    ) OR EXISTS (SELECT 1 FROM offered) AS sells,
    EXISTS (
        SELECT 1
        FROM seats
        JOIN guarded ON guarded.id = seats.performance_id
        WHERE seats.state NOT IN ('sold', 'blocked')
          AND guarded.state = 'scheduled'
    ) OR EXISTS (SELECT 1 FROM offered WHERE issued < stock) AS has_unsold
