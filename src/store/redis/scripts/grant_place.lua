-- Takes a slot for one user, out of turn and whatever the rate.
-- ARGV: 4 user, 5 the lane in which to issue a number.

local function let_in(user, lane)
  if R.closed == 1 then
    return {'closed'}
  end
  local rec = find_user(user)
  if rec and rec.kind == TURN then
    return {'ok', 'turn', turn_at(rec.lane, rec.number)}
  elseif rec and rec.kind == GRANTING then
    return {'ok', 'granting', rec.lane, rec.number}
  elseif R.rebuild_until >= 0 then
    return {'rebuilding'}
  elseif slots_in_use() >= R.capacity then
    return {'no_slot'}
  end
  if not rec then
    -- A number that nobody joined for never waits.
    local number, refusal = next_number(lane)
    if refusal then
      return refusal
    end
    rec = {lane = lane, number = number, kind = GRANTING, owner = 0}
  end
  to_granting(user, rec)
  return {'ok', 'granting', rec.lane, rec.number}
end

advance()
local answer = let_in(ARGV[4], tonumber(ARGV[5]))
save()
return answer
