-- The beginning of every step of a room that is there: the fence, the room's
-- clock. An answer is {'ok', ...}, or a refusal's name and its values.

if R.epoch ~= tonumber(ARGV[1]) or R.run ~= run_id() then
  return {'recover'}
end
if R.building then
  -- Whoever builds it is at work, or died.
  return {server_ms() - R.building < BUILD_STALE_MS and 'building' or 'recover'}
end

local function add(field, change)
  put(field, R[field] + change)
end

-- A node said lately how strained its sale is.
local function is_steered()
  return R.steer_heard and R.now - R.steer_heard <= LEASE_MS
end

-- The policy's rate, or less.
local function rate_in_effect()
  return is_steered() and math.min(R.steer_rate, R.rate) or R.rate
end

-- Room time takes the server clock's step, clamped; the bucket fills with it.
-- Between two ticks it moves on by no more than the longest step.
local function advance(is_tick)
  local at = server_ms()
  local ticked = is_tick and R.now or R.ticked or R.now
  local step = math.max(math.min(at - R.seen, ticked + ROOM_STEP_MAX_MS - R.now), 0)
  put('seen', at)
  put('now', R.now + step)
  if is_tick then
    put('ticked', R.now)
  end
  local rate = rate_in_effect()
  put('tokens', math.min(R.tokens + rate * step / 1000, rate * TICK_MS / 1000 + 1))
end

-- News for the next delta, and pages of departed numbers that changed.
local notes, pages = {}, {}

local function note(text)
  notes[#notes + 1] = text
  put('dirty', 1)
end

-- Writes what this step changed; the last thing it does.
local function save()
  for first = 1, #notes, 1000 do
    call('RPUSH', key('pending'), unpack(notes, first, math.min(first + 999, #notes)))
  end
  for page, revision in pairs(pages) do
    call('ZADD', key('pages'), revision, page)
  end
  save_fields()
end

local function slots_in_use()
  return R.slots + R.granting
end

local function is_quiet()
  if slots_in_use() > 0 or R.dirty == 1 then
    return 0
  end
  if R.closed == 0 then
    for lane = 0, R.lanes - 1 do
      if R['waiting' .. lane] > 0 then
        return 0
      end
    end
  end
  return 1
end
