-- Opens the lanes; the room is OPEN once none awaits its beacon.
-- ARGV from 4, for each lane: 'fifo', 'await', or its draw, which all its
-- places must follow by now: else 'redraw' and the lane.

local function is_draw(text)
  return text ~= 'fifo' and text ~= 'await'
end

if R.opened == 0 then
  for lane = 0, math.min(R.lanes, #ARGV - 3) - 1 do
    local text = ARGV[lane + 4]
    if is_draw(text) and R['draw' .. lane] ~= text
      and (R['next' .. lane] ~= text or call('ZCOUNT', line_of(lane), '-inf', '(' .. string.format('%.0f', 2 * SPAN)) > 0) then
      return {'redraw', lane}
    end
  end
end
advance()
local opens = {}
if R.opened == 0 then
  local awaits = false
  for lane = 0, math.min(R.lanes, #ARGV - 3) - 1 do
    local text = ARGV[lane + 4]
    put('frozen' .. lane, 0)
    awaits = awaits or text == 'await'
    if is_draw(text) and R['draw' .. lane] ~= text then
      put('draw' .. lane, text)
      put('head' .. lane, 1)
      opens[lane] = true
    end
  end
  if not awaits then
    put('opened', 1)
    put('tokens', 1)
    -- A rebuild that is not over starts the grace at its own end.
    if R.rebuild_until < 0 then
      start_grace()
    end
  end
  put('dirty', 1)
end
publish(opens)
save()
return {'ok'}
