-- Finds, restores or makes the live place of each of a batch of users.
--
-- ARGV from 4, for each: the user; the presented lane ('': none), number,
-- order, and the draw that order follows; the lane to issue in ('': none);
-- who vouches: 's' and a node, or 'c' and for how many ms.

local function issue(user, lane)
  if R.closed == 1 then
    return nil, {'closed'}
  end
  if R.opened == 1 and R.sold_out == 1 then
    return nil, {'sold_out'}
  end
  if R.max_waiting > 0 then
    local waiting = 0
    for each = 0, R.lanes - 1 do
      waiting = waiting + R['waiting' .. each]
    end
    if waiting >= R.max_waiting then
      return nil, {'full'}
    end
  end
  local number, refusal = next_number(lane)
  if number then
    add('joins_total', 1)
  end
  return number, refusal
end

local function take(user, lane, number, order, tag, issue_in, presence, value)
  local kind, owner, ends = STREAM, nil, nil
  if presence == 's' then
    owner = renew(value)
  else
    kind, ends = CALL, R.now + tonumber(value)
  end
  local rec = find_user(user)
  local shown
  if lane ~= '' then
    lane, number = tonumber(lane), tonumber(number)
    local first, second
    shown, first, second = present_token(user, rec, lane, number, tonumber(order), tag)
    if shown == 'unknown' then
      return {'unknown'}
    elseif shown == 'draw' then
      return {'draw', lane, first}
    elseif shown == 'live' then
      rec = first
    elseif issue_in == '' then
      local is_same = first == lane and second == number
      return {'place', first, second, standing_at(first, second, user), is_same and 0 or 1}
    end
  end
  if rec then
    attend(user, rec, kind, owner, ends)
  elseif issue_in == '' then
    return {'unknown'}
  else
    local to = tonumber(issue_in)
    local made, refusal = issue(user, to)
    if refusal then
      return refusal
    end
    rec = {lane = to, number = made, kind = kind, owner = owner or 0}
    keep_user(user, rec)
    call('ZADD', line_of(to), (draw_of(to) and 2 or 0) * SPAN + made, user)
    if ends then
      call('ZADD', timers, ends, user)
    end
  end
  return {'place', rec.lane, rec.number, standing_of(user, rec), is_at(rec, lane, number) and 0 or 1}
end

advance()
local answers = {'ok'}
for i = 4, #ARGV, 8 do
  answers[#answers + 1] = take(unpack(ARGV, i, i + 7))
end
save()
return answers
