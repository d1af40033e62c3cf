-- Numbers: issuing the next one, and keeping some ahead of the joins.

-- About two seconds of joins.
local function reserve(lane)
  local most = math.max(R['joins' .. lane], R['before' .. lane])
  return math.min(math.max(2 * most, RESERVE_MIN), RESERVE_MAX)
end

local function reserve_to(lane)
  return R['issued' .. lane] + reserve(lane)
end

local function count_join(lane)
  local second = math.floor(R.now / 1000)
  if second ~= R['second' .. lane] then
    put('before' .. lane, second == R['second' .. lane] + 1 and R['joins' .. lane] or 0)
    put('joins' .. lane, 0)
    put('second' .. lane, second)
  end
  add('joins' .. lane, 1)
end

-- Issues the next number of a lane; else answers nil and the refusal.
local function next_number(lane)
  -- Beyond the last: one that was appended, of which the room has not heard.
  if lane >= R.lanes or R['frozen' .. lane] == 1 then
    return nil, {'opening'}
  end
  if R['issued' .. lane] >= R['reserved' .. lane] then
    return nil, {'numbers', lane, reserve_to(lane)}
  end
  count_join(lane)
  add('issued' .. lane, 1)
  add('waiting' .. lane, 1)
  put('dirty', 1)
  return R['issued' .. lane]
end
