-- Deltas after a cursor, oldest first. ARGV: 4 its epoch, 5 its revision.

local revision = tonumber(ARGV[5])
if tonumber(ARGV[4]) ~= R.epoch or revision > R.rev then
  return {'ok', 0}
end
local texts = {}
for _, entry in ipairs(call('XRANGE', key('log'), '(' .. R.epoch .. '-' .. revision, '+')) do
  texts[#texts + 1] = entry[2][2]
end
return {'ok', #texts == R.rev - revision and 1 or 0, texts}
