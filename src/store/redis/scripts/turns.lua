-- Turns: a committed activation takes its slot, and its place leaves the line.

local function set_due(id, at)
  call('ZADD', key('due'), at, id)
end

local function forget_grant(row)
  local member = place_name(row.lane, row.number) .. row.user
  if call('ZREM', key('granting'), member) == 1 then
    add('granting', -1)
    call('SREM', key('left'), member)
  end
end

-- `row`: lane, number, user, id, active (1 or 0), standing, remaining_ms.
local function seat(row, rec)
  leave_line(row.lane, row.number, row.user, rec)
  forget_grant(row)
  call('HSET', key('turns'), place_name(row.lane, row.number), row.id)
  write_slot(row.id, row)
  add('slots', 1)
  add('active', row.active)
  set_due(row.id, R.now + row.remaining_ms)
end

-- Seats a row as its user's live place; an activation wins over another place
-- that waits. `was`: the record of the row's own place.
local function give_turn(row, rec, was)
  keep_user(row.user, {lane = row.lane, number = row.number, kind = TURN, owner = 0})
  if rec and not is_at(rec, row.lane, row.number) and waits(rec) then
    depart(rec.lane, rec.number, row.user, rec, 'merged', row.lane, row.number)
  end
  seat(row, was)
end

-- Answers the id if its user left while the row was written.
local function confirm(row)
  local is_known = row.id ~= '' and call('HEXISTS', key('slots'), row.id) == 1
  if is_known or not is_issued(row.lane, row.number) or has_departed(row.lane, row.number) then
    return nil
  end
  local rec = find_user(row.user)
  local was = is_at(rec, row.lane, row.number) and rec or nil
  if is_granting(row.lane, row.number, row.user) then
    was = {kind = GRANTING}
  elseif not was and not is_unclaimed(row.lane, row.number) then
    return nil
  end
  if row.id == '' then
    -- Written long ago and over: it takes no slot.
    forget_grant(row)
    depart(row.lane, row.number, row.user, was, row.standing)
    return nil
  end
  add('activations_total', 1)
  put('dirty', 1)
  if was and was.kind == GRANTING and has_left(row.lane, row.number, row.user) then
    seat(row, was)
    call('HDEL', key('turns'), place_name(row.lane, row.number))
    end_place(row.lane, row.number, row.user, row.id, 'left')
    return row.id
  end
  give_turn(row, rec, was)
  note('t[' .. row.lane .. ',' .. row.number .. ',' .. row.standing .. ']')
  return nil
end

-- Seven arguments from `i`: lane, number, user, id ('': it has ended), active,
-- the standing or the reason of the end, the ms that remain.
local function read_row(i)
  return {
    lane = tonumber(ARGV[i]), number = tonumber(ARGV[i + 1]), user = ARGV[i + 2], id = ARGV[i + 3],
    active = tonumber(ARGV[i + 4]), standing = ARGV[i + 5], remaining_ms = tonumber(ARGV[i + 6]),
  }
end
