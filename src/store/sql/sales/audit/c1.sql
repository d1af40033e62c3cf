-- Campaigns that issued more than they have, or other than they count.
SELECT 'campaign ' || c.id || ' has a stock of ' || c.stock || ' and counts ' || c.issued
       || ' coupons, there are ' || COALESCE(k.coupons, 0) AS violation
FROM campaigns c
LEFT JOIN (
    SELECT campaign_id, COUNT(*) AS coupons
    FROM coupons
    GROUP BY campaign_id
) k ON k.campaign_id = c.id
WHERE c.issued <> COALESCE(k.coupons, 0) OR c.issued > c.stock OR c.stock < 1
