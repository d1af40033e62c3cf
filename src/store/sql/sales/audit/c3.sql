-- Coupons that are used, or reserved, without the one payment that they are for,
-- payments with a coupon that is another's, and discounts of no coupon.
SELECT 'coupon ' || k.id || ' is ' || k.state || ' for payment ' || COALESCE(k.payment_id, 'none')
       || ' of reservation ' || COALESCE(k.reservation_id, 'none') || ', which is '
       || COALESCE(p.state, 'missing') || ' and ' || COALESCE(r.state, 'missing') AS violation
FROM coupons k
LEFT JOIN payments p ON p.id = k.payment_id AND p.coupon_id = k.id AND p.user_id = k.user_id
    AND p.reservation_id = k.reservation_id
LEFT JOIN reservations r ON r.id = p.reservation_id AND r.payment_id = p.id
WHERE (k.state = 'available' AND (k.payment_id IS NOT NULL OR k.reservation_id IS NOT NULL OR k.used_at IS NOT NULL))
   OR (k.state = 'reserved' AND COALESCE(p.state, '') <> 'pending')
   OR (k.state = 'used' AND (COALESCE(p.state, '') NOT IN ('succeeded', 'refunding') OR COALESCE(r.state, '') <> 'confirmed'))
UNION ALL
SELECT 'payment ' || p.id || ' is ' || p.state || ' with coupon ' || p.coupon_id || ', which is '
       || COALESCE(k.state, 'missing') || ' for ' || COALESCE(k.payment_id, 'none')
FROM payments p
JOIN reservations r ON r.id = p.reservation_id
LEFT JOIN coupons k ON k.id = p.coupon_id
WHERE p.coupon_id IS NOT NULL
  AND (p.state = 'pending' OR (p.state IN ('succeeded', 'refunding') AND r.state = 'confirmed' AND r.payment_id = p.id))
  AND (COALESCE(k.payment_id, '') <> p.id OR k.state = 'available')
UNION ALL
SELECT 'payment ' || p.id || ' has ' || COALESCE(p.discount_minor, 0) || ' off with coupon ' || COALESCE(p.coupon_id, 'none')
FROM payments p
WHERE (p.coupon_id IS NULL AND p.discount_minor IS NOT NULL)
   OR (p.coupon_id IS NOT NULL AND COALESCE(p.discount_minor, 0) < 1)
   OR p.amount_minor < 0
