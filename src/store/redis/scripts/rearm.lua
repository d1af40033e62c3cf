-- The database did not agree that this slot is over. ARGV: 4 id, 5 ms.

advance()
call('ZADD', key('due'), 'XX', R.now + math.max(tonumber(ARGV[5]), 1), ARGV[4])
save()
return {'ok'}
