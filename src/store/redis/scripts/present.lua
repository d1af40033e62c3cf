-- These places have a stream at a node.
-- ARGV: 4 node; then for each lane, number, user, order, the draw it follows.
-- Answers the positions in this list of those whose order must be said first,
-- each with its draw.

advance()
local owner = renew(ARGV[4])
local answer = {'ok'}
for i = 5, #ARGV, 5 do
  local lane, user = tonumber(ARGV[i]), ARGV[i + 2]
  local shown, what = present_token(user, find_user(user), lane, tonumber(ARGV[i + 1]), tonumber(ARGV[i + 3]), ARGV[i + 4])
  if shown == 'live' then
    attend(user, what, STREAM, owner)
  elseif shown == 'draw' then
    answer[#answer + 1] = {(i - 5) / 5, lane, what}
  end
end
save()
return answer
