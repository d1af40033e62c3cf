-- Ends a waiting place, or tells what stands in the way.
-- ARGV: 4 lane, 5 number, 6 user.

local function leave(lane, number, user)
  if not is_issued(lane, number) then
    return {'unknown'}
  end
  if has_departed(lane, number) then
    local id = turn_at(lane, number)
    local slot = read_slot(id)
    if not slot then
      return {'ok', 'ended', end_reason(lane, number)}
    end
    return slot.user == user and {'ok', 'row', id} or {'unknown'}
  end
  local rec = find_user(user)
  if is_granting(lane, number, user) then
    if is_at(rec, lane, number) then
      call('HDEL', users, user)
    end
    call('SADD', key('left'), place_name(lane, number) .. user)
    return {'ok', 'marked'}
  end
  local is_mine = is_at(rec, lane, number)
  if not is_mine and not is_unclaimed(lane, number) then
    return {'unknown'}
  end
  if R.closed == 1 then
    return {'ok', 'ended', 'room_closed'}
  end
  depart(lane, number, is_mine and user or nil, is_mine and rec or nil, 'left')
  return {'ok', 'ended', 'left'}
end

advance()
local answer = leave(tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6])
save()
return answer
