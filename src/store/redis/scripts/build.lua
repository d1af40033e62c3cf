-- The beginning of the steps that make a room: the fields and helpers of
-- prelude.lua, without its fence. A room that is built belongs to a builder
-- until its last step, and answers nothing else.
--
-- ARGV: 1 epoch, 2 and 3 as everywhere, 4 the builder's name.

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

local function server_ms()
  if ARGV[2] ~= '' then
    return tonumber(ARGV[2])
  end
  local time = call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function run_id()
  return 'run-' .. string.match(call('INFO', 'server'), 'run_id:(%w+)')
end

local function is_mine()
  return R.epoch == tonumber(ARGV[1]) and R.building and R.builder == ARGV[4] and R.run == run_id()
end

local function put(field, value)
  if R[field] ~= value then
    R[field] = value
    changed[field] = true
  end
end

local function save()
  local fields = {}
  for field in pairs(changed) do
    fields[#fields + 1] = field
    fields[#fields + 1] = R[field]
  end
  if #fields > 0 then
    call('HSET', room, unpack(fields))
  end
end
