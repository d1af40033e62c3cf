-- $1 is the largest amount. Amounts that cannot be, and prices that were not the
-- server's.
SELECT 'posting of entry ' || p.entry_id || ' to ' || p.account || ' is ' || p.amount_minor || ' ' || p.currency AS violation
FROM ledger_postings p
WHERE p.amount_minor = 0 OR p.amount_minor > $1 OR p.amount_minor < -$1
UNION ALL
SELECT 'reservation ' || id || ' costs ' || total_minor || ' ' || currency || ', its seats '
       || seats_minor || ' ' || sold_in
FROM (
    SELECT r.id, r.total_minor, r.currency, p.currency AS sold_in,
           COALESCE(SUM(rs.price_minor), 0) AS seats_minor, MIN(rs.price_minor) AS least_minor
    FROM reservations r
    -- Of a finished sale that is being deleted the seats go first.
    JOIN performances p ON p.id = r.performance_id AND p.archived_at IS NULL
    LEFT JOIN reservation_seats rs ON rs.reservation_id = r.id
    GROUP BY r.id, r.total_minor, r.currency, p.currency
) AS priced
WHERE total_minor <> seats_minor OR currency <> sold_in OR least_minor < 1 OR total_minor > $1
UNION ALL
SELECT 'payment ' || p.id || ' is ' || p.amount_minor || ' ' || p.currency || ' for a reservation of '
       || r.total_minor || ' ' || r.currency || ' with ' || COALESCE(p.discount_minor, 0) || ' off'
       || ', which gave back seats of ' || COALESCE(b.returned_minor, 0)
FROM payments p
JOIN reservations r ON r.id = p.reservation_id
JOIN performances house ON house.id = r.performance_id AND house.archived_at IS NULL
LEFT JOIN (
    SELECT reservation_id, SUM(price_minor) AS returned_minor
    FROM returned_seats
    WHERE paid = TRUE
    GROUP BY reservation_id
) b ON b.reservation_id = r.id
WHERE p.live = 1
  AND (p.amount_minor + COALESCE(p.discount_minor, 0) <> r.total_minor + COALESCE(b.returned_minor, 0) OR p.currency <> r.currency)
