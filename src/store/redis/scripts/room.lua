-- What every script begins with: the room's fields as they are, and those it
-- changes.
--
-- KEYS[1] is the room's hash; every other key begins with it. ARGV: 1 the
-- epoch the caller believes in, 2 the server's time in ms ('': ask this
-- server), 3 the command that publishes; a step's own follow from 4.

local call = redis.call
local room = KEYS[1]

local function key(word)
  return room .. ':' .. word
end

local R, changed = {}, {}
local stored = call('HGETALL', room)
for i = 1, #stored, 2 do
  R[stored[i]] = tonumber(stored[i + 1]) or stored[i + 1]
end

local function put(field, value)
  if R[field] ~= value then
    R[field] = value
    changed[field] = true
  end
end

local function save_fields()
  local fields = {}
  for field in pairs(changed) do
    fields[#fields + 1] = field
    fields[#fields + 1] = R[field]
  end
  if #fields > 0 then
    call('HSET', room, unpack(fields))
  end
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
