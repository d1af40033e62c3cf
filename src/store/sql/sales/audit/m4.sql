-- $1 is the largest amount. Amounts that cannot be, and prices that were not the
-- server's.
SELECT 'posting of entry ' || p.entry_id || ' to ' || p.account || ' is ' || p.amount_minor || ' ' || p.currency AS violation
FROM ledger_postings p
WHERE p.amount_minor = 0 OR p.amount_minor > $1 OR p.amount_minor < -$1
UNION ALL
SELECT 'reservation ' || r.id || ' costs ' || r.total_minor || ' ' || r.currency || ', its seats '
       || COALESCE(SUM(rs.price_minor), 0) || ' ' || p.currency
FROM reservations r
JOIN performances p ON p.id = r.performance_id
LEFT JOIN reservation_seats rs ON rs.reservation_id = r.id
GROUP BY r.id, r.total_minor, r.currency, p.currency
HAVING r.total_minor <> COALESCE(SUM(rs.price_minor), 0) OR r.currency <> p.currency
    OR MIN(rs.price_minor) < 1 OR r.total_minor > $1
UNION ALL
SELECT 'payment ' || p.id || ' is ' || p.amount_minor || ' ' || p.currency || ' for a reservation of '
       || r.total_minor || ' ' || r.currency
FROM payments p
JOIN reservations r ON r.id = p.reservation_id
WHERE p.amount_minor <> r.total_minor OR p.currency <> r.currency
