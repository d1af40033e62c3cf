-- Money of a payment provider that is not where its intent says.
SELECT 'intent ' || i.id || ' is ' || i.state || ' and has brought ' || COALESCE(SUM(-l.amount_minor), 0)
       || ' of ' || i.amount_minor AS violation
FROM payment_intents i
LEFT JOIN ledger_postings l ON l.entry_id = i.id AND l.account LIKE 'external:gateway%'
    AND l.currency = COALESCE(i.taken_currency, i.currency)
GROUP BY i.id, i.state, i.amount_minor, i.taken_minor
HAVING COALESCE(SUM(-l.amount_minor), 0)
    <> CASE WHEN i.taken_minor > 0 THEN i.taken_minor WHEN i.state = 'succeeded' THEN i.amount_minor ELSE 0 END
UNION ALL
SELECT 'intent ' || i.id || ' has taken ' || i.taken_minor || ' ' || i.taken_currency || ', and it does not go back'
FROM payment_intents i
LEFT JOIN gateway_refunds g ON g.intent_id = i.id AND g.amount_minor = i.taken_minor AND g.currency = i.taken_currency
WHERE i.taken_minor > 0 AND (g.id IS NULL OR i.state <> 'declined')
UNION ALL
SELECT 'refund ' || g.id || ' of ' || g.amount_minor || ' has taken ' || COALESCE(SUM(l.amount_minor), 0)
FROM gateway_refunds g
LEFT JOIN ledger_postings l ON l.entry_id = g.id AND l.account LIKE 'external:gateway%' AND l.currency = g.currency
GROUP BY g.id, g.amount_minor
HAVING COALESCE(SUM(l.amount_minor), 0) <> g.amount_minor
UNION ALL
SELECT 'entry ' || l.entry_id || ' is of the provider, and of no intent or refund'
FROM ledger_postings l
LEFT JOIN payment_intents i ON i.id = l.entry_id
LEFT JOIN gateway_refunds g ON g.id = l.entry_id
LEFT JOIN gateway_refunds w ON w.id = SUBSTR(l.entry_id, 1, LENGTH(l.entry_id) - 2) AND l.entry_id = w.id || '-w'
    AND w.state = 'done' AND w.amount_minor = -l.amount_minor AND w.currency = l.currency
WHERE l.account LIKE 'external:gateway%' AND i.id IS NULL AND g.id IS NULL AND w.id IS NULL
UNION ALL
SELECT 'intent ' || i.id || ' of ' || i.amount_minor || ' gives back ' || SUM(g.amount_minor)
FROM payment_intents i
JOIN gateway_refunds g ON g.intent_id = i.id
GROUP BY i.id, i.state, i.amount_minor, i.taken_minor, i.provider_id
HAVING SUM(g.amount_minor) > COALESCE(i.taken_minor, i.amount_minor)
    OR (i.state <> 'succeeded' AND i.taken_minor IS NULL) OR i.provider_id IS NULL
UNION ALL
SELECT name || ' is ' || balance_minor || ' ' || currency
FROM accounts
WHERE name LIKE 'unplaced%' AND balance_minor <> 0
UNION ALL
SELECT 'payment ' || p.id || ' is ' || p.state || ', its intent is ' || COALESCE(i.state, 'missing')
FROM payments p
LEFT JOIN payment_intents i ON i.id = p.id AND i.purpose = 'payment' AND i.user_id = p.user_id
    AND i.amount_minor = p.amount_minor AND i.currency = p.currency
WHERE p.method = 'gateway'
  AND COALESCE(i.state, '') <> CASE WHEN p.state IN ('pending', 'declined') THEN p.state ELSE 'succeeded' END
UNION ALL
SELECT 'payment ' || p.id || ' is ' || p.state || ', and ' || COUNT(g.id) || ' refunds are on their way'
FROM payments p
LEFT JOIN payment_intents i ON i.id = p.id AND i.taken_minor IS NULL
LEFT JOIN gateway_refunds g ON g.intent_id = i.id AND g.state <> 'done'
GROUP BY p.id, p.state
HAVING (p.state = 'refunding' AND COUNT(g.id) = 0) OR (p.state <> 'refunding' AND COUNT(g.id) > 0)
UNION ALL
SELECT 'intent ' || i.id || ' is ' || i.state || ', and there is no payment of it'
FROM payment_intents i
LEFT JOIN payments p ON p.id = i.id AND p.method = 'gateway'
WHERE i.purpose = 'payment' AND p.id IS NULL
UNION ALL
SELECT 'intent ' || i.id || ' has neither filled a wallet nor gone back'
FROM payment_intents i
LEFT JOIN ledger_postings l ON l.entry_id = i.id AND l.account = 'user:' || i.user_id
    AND l.amount_minor = i.amount_minor
LEFT JOIN gateway_refunds g ON g.intent_id = i.id AND g.amount_minor = i.amount_minor
WHERE i.purpose = 'top_up' AND i.state = 'succeeded'
  AND ((l.entry_id IS NULL AND g.id IS NULL) OR (l.entry_id IS NOT NULL AND g.id IS NOT NULL))
UNION ALL
SELECT 'intent ' || id || ' is in no known state: ' || state
FROM payment_intents
WHERE state NOT IN ('pending', 'succeeded', 'declined') OR purpose NOT IN ('payment', 'top_up')
UNION ALL
SELECT 'refund ' || id || ' is in no known state: ' || state
FROM gateway_refunds
WHERE state NOT IN ('pending', 'refused', 'done')
