-- Policy and switches of a row, unless the room has those of a later one. ARGV
-- from 4: as `read_policy` reads them.

if tonumber(ARGV[4]) > (R.version or 0) then
  advance()
  read_policy(4)
  local frozen = 0
  for lane = 0, R.lanes - 1 do
    frozen = math.max(frozen, R['frozen' .. lane])
  end
  for lane = R.lanes, R.weights - 1 do
    add_lane(lane)
    put('frozen' .. lane, frozen)
  end
  put('dirty', 1)
end
publish()
save()
return {'ok'}
