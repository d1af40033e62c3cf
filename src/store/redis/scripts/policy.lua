-- What a room is told of its policy. From `i`: the version of the row, paused,
-- sold_out, closed, capacity, rate, max_waiting, grace, the facts and the
-- policy as texts, the number of lanes and their weights.

local function read_policy(i)
  put('version', tonumber(ARGV[i]))
  put('paused', tonumber(ARGV[i + 1]))
  put('sold_out', tonumber(ARGV[i + 2]))
  put('closed', math.max(R.closed, tonumber(ARGV[i + 3])))
  put('capacity', tonumber(ARGV[i + 4]))
  put('rate', tonumber(ARGV[i + 5]))
  put('max_waiting', tonumber(ARGV[i + 6]))
  put('grace', tonumber(ARGV[i + 7]))
  call('HSET', key('policy'), 'facts', ARGV[i + 8], 'policy', ARGV[i + 9])
  put('weights', tonumber(ARGV[i + 10]))
  for lane = 0, R.weights - 1 do
    put('weight' .. lane, tonumber(ARGV[i + 11 + lane]))
  end
  return i + 11 + R.weights
end

local LANE = {
  issued = 0, reserved = 0, recovered = 0, served = 0, waiting = 0, absent = 0, frozen = 0, head = 1,
  second = 0, joins = 0, before = 0,
}

local function add_lane(lane)
  for field, value in pairs(LANE) do
    put(field .. lane, value)
  end
  put('lanes', lane + 1)
end
