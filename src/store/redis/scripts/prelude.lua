-- The beginning of every step: the fence, the room's fields, its clock.
--
-- KEYS[1] is the room's hash; every other key begins with it. ARGV: 1 the
-- epoch the caller believes in, 2 the server's time in ms ('': ask this
-- server), 3 the command that publishes; a step's own follow from 4.
-- An answer is {'ok', ...}, or a refusal's name and its values.

local call = redis.call
local room = KEYS[1]

local function key(word)
  return room .. ':' .. word
end

-- The fields as they are, and those this step changes.
local R, changed = {}, {}
local stored = call('HGETALL', room)
for i = 1, #stored, 2 do
  R[stored[i]] = tonumber(stored[i + 1]) or stored[i + 1]
end

local function server_ms()
  if ARGV[2] ~= '' then
    return tonumber(ARGV[2])
  end
  local time = call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- A server that restarted, or a replica that was promoted, may have lost
-- something: its run id is another, and so the room is no longer believed.
local function run_id()
  return 'run-' .. string.match(call('INFO', 'server'), 'run_id:(%w+)')
end

if R.epoch ~= tonumber(ARGV[1]) or R.run ~= run_id() then
  return {'recover'}
end
if R.building then
  -- Whoever builds it is at work, or died.
  return {server_ms() - R.building < BUILD_STALE_MS and 'building' or 'recover'}
end

local function put(field, value)
  if R[field] ~= value then
    R[field] = value
    changed[field] = true
  end
end

local function add(field, change)
  put(field, R[field] + change)
end

-- Room time takes the server clock's step, clamped; the bucket fills with it.
local function advance()
  local at = server_ms()
  local step = math.min(math.max(at - R.seen, 0), ROOM_STEP_MAX_MS)
  put('seen', at)
  put('now', R.now + step)
  local most = R.rate * TICK_MS / 1000 + 1
  put('tokens', math.min(R.tokens + R.rate * step / 1000, most))
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
  local fields = {}
  for field in pairs(changed) do
    fields[#fields + 1] = field
    fields[#fields + 1] = R[field]
  end
  if #fields > 0 then
    call('HSET', room, unpack(fields))
  end
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
