-- The whole state as of a delta: what a delta begins with, the policy, each
-- lane's departed bitmap, and the slots as they are kept.

publish()
local bitmaps = {}
for lane = 0, R.lanes - 1 do
  bitmaps[#bitmaps + 1] = call('GET', key('departed:' .. lane)) or ''
end
local text = head_text({}, {}) .. '}'
save()
return {'ok', text, call('HGET', key('policy'), 'policy'), bitmaps, call('HVALS', key('slots'))}
