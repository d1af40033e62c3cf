-- Rows have ended: their slots go back to the room, each once.
-- ARGV from 4, for each: id, reason.

local function free(id, reason)
  local slot = read_slot(id)
  if not slot then
    return
  end
  call('HDEL', key('slots'), id)
  call('ZREM', key('due'), id)
  add('slots', -1)
  add('active', -slot.active)
  if reason == 'unclaimed' then
    add('unclaimed_total', 1)
  end
  if call('HDEL', key('turns'), place_name(slot.lane, slot.number)) == 1 then
    end_place(slot.lane, slot.number, slot.user, id, reason)
  end
  put('dirty', 1)
end

advance()
for i = 4, #ARGV, 2 do
  free(ARGV[i], ARGV[i + 1])
end
save()
return {'ok'}
