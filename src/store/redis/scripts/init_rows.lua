-- Live activations of a room that is built. ARGV from 5, for each: lane,
-- number, user, id, active, standing, the ms that remain; or, without an id,
-- a place whose activation is over.

if not is_mine() then
  return {'kept'}
end
for i = 5, #ARGV, 7 do
  local lane, number, user, id = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  if id == '' then
    call('BITFIELD', key('ends:' .. lane), 'SET', 'u4', '#' .. number, 6)
  else
    local slot = lane .. ' ' .. number .. ' ' .. ARGV[i + 4] .. ' ' .. user .. ' ' .. ARGV[i + 5]
    call('HSET', key('slots'), id, slot)
    call('HSET', key('turns'), struct.pack('>I2I4', lane, number), id)
    call('ZADD', key('due'), ARGV[i + 6], id)
    call('HSET', key('users'), user, struct.pack('>I1I4I1I2', lane, number, 6, 0))
  end
end
put('building', server_ms())
save()
return {'ok'}
