-- The room is whole. ARGV: 5 how long activation rests if someone may return.

if not is_mine() then
  return {'kept'}
end
call('HDEL', room, 'building', 'builder')
local waiting = 0
for lane = 0, R.lanes - 1 do
  waiting = waiting + R['waiting' .. lane]
end
local pause = tonumber(ARGV[5])
if waiting > 0 and pause > 0 then
  put('rebuild_until', pause)
else
  start_grace()
end
save()
return {'ok'}
