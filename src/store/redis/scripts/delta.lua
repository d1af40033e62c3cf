-- The text of a delta, as `delta.rs` reads it, and its publication.

-- Every order below it has departed. Exact where orders are numbers; in a
-- drawn lane a bound that follows when nothing hides the lowest that waits.
local function head_of(lane)
  local head, issued = R['head' .. lane], R['issued' .. lane]
  if not R['draw' .. lane] then
    local departed = key('departed:' .. lane)
    if head <= issued then
      local clear = call('BITPOS', departed, 0, head, issued, 'BIT')
      if clear < 0 then
        clear = call('STRLEN', departed) * 8
      end
      head = math.max(head, math.min(clear, issued + 1))
    end
  elseif R['waiting' .. lane] == 0 then
    head = issued + 1
  elseif R.granting == 0 and R['recovered' .. lane] == 0 then
    local least = math.huge
    for region = 2, 3 do
      local first = call('ZRANGE', line_of(lane), region * SPAN, (region + 1) * SPAN, 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')
      least = math.min(least, first[2] and math.fmod(tonumber(first[2]), SPAN) or least)
    end
    head = least < math.huge and math.max(head, least) or head
  end
  put('head' .. lane, head)
  return head
end

local function bool(flag)
  return flag == 1 and 'true' or 'false'
end

-- What a delta and a snapshot begin with. `departed` is by lane; `opens` the
-- lanes whose departures happened while their orders were numbers.
local function head_text(departed, opens)
  local lanes, granting = {}, {}
  for lane = 0, R.lanes - 1 do
    local text = '{"lane":' .. lane .. ',"head":' .. head_of(lane) .. ',"tail":' .. R['issued' .. lane]
    if departed[lane] then
      text = text .. ',"departed":[' .. table.concat(departed[lane], ',') .. ']'
    end
    if R['draw' .. lane] then
      text = text .. ',"draw":"' .. R['draw' .. lane] .. '"'
    end
    if opens[lane] then
      text = text .. ',"opens":true'
    end
    lanes[#lanes + 1] = text .. '}'
  end
  if R.closed == 1 then
    for _, member in ipairs(call('ZRANGE', key('granting'), 0, -1)) do
      local lane, number = struct.unpack('>I2I4', member)
      granting[#granting + 1] = '[' .. lane .. ',' .. number .. ']'
    end
  end
  return '{"epoch":' .. R.epoch .. ',"revision":' .. R.rev .. ',"published_at":' .. R.seen
    .. ',"facts":' .. call('HGET', key('policy'), 'facts')
    .. ',"opened":' .. bool(R.opened) .. ',"closed":' .. bool(R.closed)
    .. ',"rebuilding":' .. (R.rebuild_until >= 0 and 'true' or 'false')
    .. ',"rate_per_s":"' .. string.format('%.17g', R.rate) .. '"'
    .. (is_steered() and ',"steered_per_s":"' .. string.format('%.17g', rate_in_effect()) .. '"' or '')
    .. ',"slots_in_use":' .. slots_in_use()
    .. ',"granting":[' .. table.concat(granting, ',') .. ']'
    .. ',"lanes":[' .. table.concat(lanes, ',') .. ']'
end

local NEWS = {{'a', 'absent'}, {'t', 'activated'}, {'c', 'claimed'}, {'e', 'ended'}}

-- Raises the revision and seals the pending changes, if there are any.
local function publish(opens)
  if R.dirty ~= 1 then
    return
  end
  local departed, news = {}, {a = {}, t = {}, c = {}, e = {}}
  local function sort(text)
    local kind, rest = string.sub(text, 1, 1), string.sub(text, 2)
    if kind ~= 'd' then
      news[kind][#news[kind] + 1] = rest
      return
    end
    local lane, number = string.match(rest, '^(%d+),(%d+)$')
    lane = tonumber(lane)
    departed[lane] = departed[lane] or {}
    departed[lane][#departed[lane] + 1] = number
  end
  for _, text in ipairs(call('LRANGE', key('pending'), 0, -1)) do
    sort(text)
  end
  for _, text in ipairs(notes) do
    sort(text)
  end
  call('DEL', key('pending'))
  notes = {}
  put('rev', R.rev + 1)
  put('dirty', 0)
  put('published', R.now)
  local text = head_text(departed, opens or {})
  for _, names in ipairs(NEWS) do
    text = text .. ',"' .. names[2] .. '":[' .. table.concat(news[names[1]], ',') .. ']'
  end
  text = text .. '}'
  call('XADD', key('log'), 'MAXLEN', LOG_DELTAS_MAX, R.epoch .. '-' .. R.rev, 'd', text)
  call(ARGV[3], key('deltas'), text)
end
