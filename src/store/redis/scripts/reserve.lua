-- Allows numbers up to a higher one. ARGV: 4 lane, 5 number.

local lane = tonumber(ARGV[4])
if lane >= R.lanes then
  return {'unknown'}
end
put('reserved' .. lane, math.max(R['reserved' .. lane], tonumber(ARGV[5])))
save()
return {'ok'}
