-- The last streams of these places ended at a node; nothing where another
-- has taken over. ARGV: 4 node; then for each lane, number, user.

local owner = tonumber(call('HGET', key('owners'), ARGV[4]) or 0)
for i = 5, #ARGV, 3 do
  local user = ARGV[i + 2]
  local rec = find_user(user)
  if is_at(rec, tonumber(ARGV[i]), tonumber(ARGV[i + 1])) and rec.kind == STREAM and rec.owner == owner then
    attend(user, rec, ABSENT)
  end
end
save()
return {'ok'}
