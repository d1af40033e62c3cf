-- Advances room time; lapses; picks who is next; proposes what is due;
-- publishes a delta if one is due. ARGV: 4 the node that ticks, or ''.
-- Every part looks at a bounded number of places, however many wait.

local function records(names)
  return #names > 0 and call('HMGET', users, unpack(names)) or {}
end

-- Forgets the owners whose places are all absent now.
local function forget_owners(gone)
  local is_gone = {}
  for _, owner in ipairs(gone) do
    is_gone[owner] = true
    call('ZREM', key('leases'), owner)
  end
  local known = call('HGETALL', key('owners'))
  for i = 1, #known, 2 do
    if is_gone[known[i + 1]] then
      call('HDEL', key('owners'), known[i])
    end
  end
end

-- The next places of a lane among those present, from a score on.
local function present_from(lane, score, most)
  for region = 0, 2, 2 do
    local first, behind = region * SPAN, (region + 1) * SPAN
    if score < behind then
      local found = call('ZRANGE', line_of(lane), '(' .. string.format('%.0f', math.max(score, first)), '(' .. string.format('%.0f', behind),
        'BYSCORE', 'LIMIT', 0, most, 'WITHSCORES')
      if #found > 0 then
        return found
      end
    end
  end
  return {}
end

-- Places of nodes whose lease ran out become absent.
local function lapse_leases(budget)
  local gone = call('ZRANGE', key('leases'), '-inf', R.now, 'BYSCORE')
  local walk = #gone > 0 and ',' .. table.concat(gone, ',') .. ',' or ''
  if R.walk ~= walk then
    put('walk', walk)
    put('walk_lane', 0)
    put('walk_score', 0)
  end
  while walk ~= '' and budget > 0 do
    local found = present_from(R.walk_lane, R.walk_score, budget)
    local names = {}
    for i = 1, #found, 2 do
      names[#names + 1] = found[i]
    end
    for i, user_record in ipairs(records(names)) do
      local rec = decode(user_record)
      if rec.kind == STREAM and not has_lease(rec.owner) then
        attend(names[i], rec, ABSENT)
      end
    end
    budget = budget - #names
    if #names > 0 then
      put('walk_score', tonumber(found[#found]))
    else
      put('walk_lane', R.walk_lane + 1)
      put('walk_score', 0)
    end
    if R.walk_lane >= R.lanes then
      forget_owners(gone)
      put('walk', '')
      walk = ''
    end
  end
  return budget
end

-- Calls that stopped vouching, and absences beyond the grace.
local function lapse_timers(budget)
  local due = budget > 0 and call('ZRANGE', timers, '-inf', R.now, 'BYSCORE', 'LIMIT', 0, budget) or {}
  for i, user_record in ipairs(records(due)) do
    local rec = decode(user_record)
    if rec.kind == CALL then
      attend(due[i], rec, ABSENT)
    else
      depart(rec.lane, rec.number, due[i], rec, 'absent')
    end
  end
  return budget - #due
end

-- Those absent since before the grace began, some of a lane.
local function sweep_absent(lane, budget)
  local region = R['draw' .. lane] and 3 or 1
  local from = '(' .. string.format('%.0f', math.max(R.sweep_score, region * SPAN))
  local found = call('ZRANGE', line_of(lane), from, '(' .. string.format('%.0f', (region + 1) * SPAN),
    'BYSCORE', 'LIMIT', 0, budget, 'WITHSCORES')
  for i = 1, #found, 2 do
    local rec = find_user(found[i])
    if rec.kind == ABSENT_BEFORE then
      depart(lane, rec.number, found[i], rec, 'absent')
    end
    put('sweep_score', tonumber(found[i + 1]))
  end
  return budget - #found / 2
end

-- Numbers that nobody claimed since the recovery, some of a lane.
local function sweep_unclaimed(lane, budget)
  local first = math.floor(R.sweep_number / 8)
  local last = first + SWEEP_BYTES_MAX - 1
  local departed = call('GETRANGE', key('departed:' .. lane), first, last)
  local claimed = call('GETRANGE', key('claimed:' .. lane), first, last)
  while budget > 0 and R.sweep_number <= R['recovered' .. lane] do
    local at = math.floor(R.sweep_number / 8)
    if at > last then
      return 0
    end
    local gone = bit.bor(string.byte(departed, at - first + 1) or 0, string.byte(claimed, at - first + 1) or 0)
    if gone == 255 then
      put('sweep_number', (at + 1) * 8)
    else
      if bit.band(gone, 2 ^ (7 - R.sweep_number % 8)) == 0 then
        depart(lane, R.sweep_number, nil, nil, 'absent')
        budget = budget - 1
      end
      put('sweep_number', R.sweep_number + 1)
    end
  end
  return budget
end

local function sweep(budget)
  if R.sweep_at < 0 or R.now < R.sweep_at then
    return budget
  end
  while budget > 0 do
    local lane = R.sweep_lane
    if lane >= R.lanes then
      put('sweep_at', -1)
      return budget
    end
    budget = sweep_absent(lane, budget)
    if budget > 0 then
      budget = sweep_unclaimed(lane, budget)
    end
    if budget > 0 then
      put('sweep_lane', lane + 1)
      put('sweep_score', 0)
      put('sweep_number', 1)
    end
  end
  return budget
end

-- Picks of which nobody brought the rows back in time.
local function unanswered(granted)
  local before = R.now - HAND_OUT_AGAIN_MS
  local again = call('ZRANGE', key('granting'), '-inf', before, 'BYSCORE', 'LIMIT', 0, GRANT_BATCH_MAX)
  for _, member in ipairs(again) do
    call('ZADD', key('granting'), R.now, member)
    local lane, number = struct.unpack('>I2I4', member)
    granted[#granted + 1] = {lane, number, string.sub(member, 7)}
  end
end

-- The eligible place of a lane with the lowest order. Those whose node is gone
-- are absent from now on.
local looks = LOOKS_MAX
local ahead = {}
local function next_eligible(lane)
  local queue = ahead[lane]
  while true do
    if not queue or queue.at > #queue.names then
      if looks <= 0 or (queue and queue.is_last) then
        return nil
      end
      local region = R['draw' .. lane] and 2 or 0
      local from = queue and queue.last or region * SPAN
      local found = call('ZRANGE', line_of(lane), '(' .. string.format('%.0f', from), '(' .. string.format('%.0f', (region + 1) * SPAN),
        'BYSCORE', 'LIMIT', 0, LOOK_AHEAD, 'WITHSCORES')
      queue = {at = 1, names = {}, last = tonumber(found[#found]), is_last = #found < 2 * LOOK_AHEAD}
      for i = 1, #found, 2 do
        queue.names[#queue.names + 1] = found[i]
      end
      queue.records = records(queue.names)
      ahead[lane] = queue
      if #queue.names == 0 then
        return nil
      end
    end
    local user, rec = queue.names[queue.at], decode(queue.records[queue.at])
    if rec.kind == CALL or has_lease(rec.owner) then
      return user, rec
    end
    queue.at = queue.at + 1
    looks = looks - 1
    attend(user, rec, ABSENT)
  end
end

-- The next place of the non-empty lane with the least served / weight.
local function next_place()
  local least, chosen, who = nil, nil, nil
  for lane = 0, math.min(R.lanes, R.weights) - 1 do
    local share = R['served' .. lane] / math.max(R['weight' .. lane], 1)
    if not least or share < least then
      local user, rec = next_eligible(lane)
      if user then
        least, chosen, who = share, rec, user
      end
    end
  end
  return who, chosen
end

local function pick(granted)
  local is_open = R.opened == 1 and R.closed == 0 and R.sold_out == 0 and R.paused == 0
  if not is_open or R.rebuild_until >= 0 then
    return
  end
  while slots_in_use() < R.capacity and R.tokens >= 1 and #granted < GRANT_BATCH_MAX do
    local user, rec = next_place()
    if not user then
      return
    end
    ahead[rec.lane].at = ahead[rec.lane].at + 1
    to_granting(user, rec)
    put('tokens', R.tokens - 1)
    if R.steer_heard then
      add('steer_picks', 1)
    end
    granted[#granted + 1] = {rec.lane, rec.number, user}
  end
end

local function propose()
  local due = call('ZRANGE', key('due'), '-inf', R.now, 'BYSCORE', 'LIMIT', 0, GRANT_BATCH_MAX)
  for _, id in ipairs(due) do
    call('ZADD', key('due'), R.now + HAND_OUT_AGAIN_MS, id)
  end
  return due
end

local function low_numbers()
  local low = {}
  for lane = 0, R.lanes - 1 do
    local issued = R['issued' .. lane]
    if issued > 0 and R['reserved' .. lane] < issued + math.floor(reserve(lane) / 2) then
      low[#low + 1] = {lane, reserve_to(lane)}
    end
  end
  return low
end

advance(true)
if ARGV[4] ~= '' then
  renew(ARGV[4])
end
if R.rebuild_until >= 0 and R.now >= R.rebuild_until then
  start_grace()
  put('dirty', 1)
end
local budget = LAPSES_MAX
if R.closed == 0 then
  budget = sweep(lapse_timers(lapse_leases(budget)))
end
local granted = {}
unanswered(granted)
pick(granted)
local due = propose()
local low = low_numbers()
if R.rev == 0 or R.now - R.published >= TICK_MS then
  publish()
end
save()
return {'ok', R.rev, is_quiet(), granted, due, low, R.version or 0, (budget <= 0 or looks <= 0) and 1 or 0}
