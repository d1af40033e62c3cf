-- The whole state as of a delta: what a delta begins with, the policy, each
-- lane's departed bitmap, and the live places with their standings.

publish()
local bitmaps, live = {}, {}
for lane = 0, R.lanes - 1 do
  bitmaps[#bitmaps + 1] = call('GET', key('departed:' .. lane)) or ''
end
for _, id in ipairs(call('HKEYS', key('slots'))) do
  local slot = read_slot(id)
  live[#live + 1] = {slot.lane, slot.number, slot.standing}
end
local text = head_text({}, {}) .. '}'
save()
return {'ok', text, call('HGET', key('policy'), 'policy'), bitmaps, live}
