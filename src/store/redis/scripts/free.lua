-- The row has ended: the slot goes back to the room, once.
-- ARGV: 4 id, 5 reason.

advance()
local id, reason = ARGV[4], ARGV[5]
local slot = read_slot(id)
if slot then
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
save()
return {'ok'}
