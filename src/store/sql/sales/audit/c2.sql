-- Users with several coupons of a campaign, and coupons in no known state.
SELECT 'user ' || user_id || ' has ' || COUNT(*) || ' coupons of campaign ' || campaign_id AS violation
FROM coupons
GROUP BY campaign_id, user_id
HAVING COUNT(*) > 1
UNION ALL
SELECT 'coupon ' || id || ' is in no known state: ' || state
FROM coupons
WHERE state NOT IN ('available', 'reserved', 'used')
