-- Departed numbers of a room that is built. ARGV from 5, for each piece: lane,
-- its first byte, the bytes.

if not is_mine() then
  return {'kept'}
end
for i = 5, #ARGV, 3 do
  call('SETRANGE', key('departed:' .. ARGV[i]), ARGV[i + 1], ARGV[i + 2])
end
put('building', server_ms())
save()
return {'ok'}
