-- Some steps of a lane's way into the order of its draw. Its places move,
-- a few a call, from regions 0 and 1 to 2 and 3, where `open` will find them
-- all; until then nobody is picked. Numbers are issued again from the first
-- step on: they stand behind the draw.
--
-- ARGV: 4 lane, 5 draw, 6 how many to answer; then for each moved place user,
-- number, order. Answers users that did not move yet, and their numbers.

local lane, draw = tonumber(ARGV[4]), ARGV[5]
if R.opened == 1 or lane >= R.lanes or R['draw' .. lane] == draw then
  return {'ok'}
end
put('next' .. lane, draw)
put('frozen' .. lane, 0)
local line, behind = line_of(lane), string.format('%.0f', 2 * SPAN)
for i = 7, #ARGV, 3 do
  local user = ARGV[i]
  local score = tonumber(call('ZSCORE', line, user) or 2 * SPAN)
  if score < 2 * SPAN and is_at(find_user(user), lane, tonumber(ARGV[i + 1])) then
    local region = 2 + math.floor(score / SPAN)
    call('ZADD', line, region * SPAN + tonumber(ARGV[i + 2]), user)
  end
end
local answer = {'ok'}
for _, user in ipairs(call('ZRANGE', line, '-inf', '(' .. behind, 'BYSCORE', 'LIMIT', 0, ARGV[6])) do
  answer[#answer + 1] = user
  answer[#answer + 1] = find_user(user).number
end
save()
return answer
