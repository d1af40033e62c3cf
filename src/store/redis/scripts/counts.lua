-- Counters of a room, as RoomCounts lists them.

local waiting, absent = 0, 0
for lane = 0, R.lanes - 1 do
  waiting = waiting + R['waiting' .. lane]
  absent = absent + R['absent' .. lane]
end
return {'ok', waiting, absent, R.granting, R.slots - R.active, R.active, R.joins_total, R.activations_total, R.unclaimed_total, R.departs}
