-- A token that is shown is believed, since it was signed.

local function draw_of(lane)
  return R['next' .. lane] or R['draw' .. lane]
end

-- The order by which two places of one user are compared: by number until
-- the lane is drawn.
local function rank_of(user, rec)
  if R['draw' .. rec.lane] then
    return math.fmod(tonumber(call('ZSCORE', line_of(rec.lane), user)), SPAN)
  end
  return rec.number
end

-- Gives a number that waits unclaimed since a recovery to its user; the
-- better of it and the user's live place stays. Answers the user's record.
local function claim_number(user, rec, lane, number, order)
  call('SETBIT', key('claimed:' .. lane), number, 1)
  local mine = {lane = lane, number = number, kind = ABSENT_BEFORE, owner = 0}
  if rec then
    local rank = R['draw' .. lane] and order or number
    local is_better = false
    if waits(rec) then
      local other = rank_of(user, rec)
      is_better = rank < other or (rank == other and lane < rec.lane)
    end
    if not is_better then
      depart(lane, number, nil, nil, 'merged', rec.lane, rec.number)
      return rec
    end
    keep_user(user, mine)
    depart(rec.lane, rec.number, user, rec, 'merged', lane, number)
  else
    keep_user(user, mine)
  end
  local region = (draw_of(lane) and 2 or 0) + 1
  call('ZADD', line_of(lane), region * SPAN + (draw_of(lane) and order or number), user)
  return mine
end

-- Answers 'live' and the user's record, 'ended' and the place, 'unknown', or
-- 'draw': the caller must say the order of this number.
local function present_token(user, rec, lane, number, order, tag)
  if not is_issued(lane, number) then
    return 'unknown'
  end
  if has_departed(lane, number) then
    local slot = read_slot(turn_at(lane, number))
    if slot then
      if slot.user ~= user then
        return 'unknown'
      end
      if is_at(rec, lane, number) then
        return 'live', rec
      end
      return 'ended', lane, number
    end
    local reason = end_reason(lane, number)
    if reason == 'merged' and rec then
      return 'live', rec
    end
    local survivor = call('HGET', key('merged'), place_name(lane, number))
    if survivor then
      local s_lane, s_number = struct.unpack('>I2I4', survivor)
      return 'ended', s_lane, s_number
    end
    return 'ended', lane, number
  end
  if is_at(rec, lane, number) then
    return 'live', rec
  end
  if is_granting(lane, number, user) then
    -- Left while its activation was being written.
    return 'ended', lane, number
  end
  if not is_unclaimed(lane, number) then
    return 'unknown'
  end
  local draw = draw_of(lane)
  if draw and draw ~= tag then
    return 'draw', draw
  end
  return 'live', claim_number(user, rec, lane, number, order)
end
