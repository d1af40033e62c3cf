-- Places: where each stands, who is there, and how one leaves the line.
--
-- A user's record names their one live place and who vouches for it. The
-- line of a lane is a sorted set of users; a score is region * SPAN + order.
-- Regions 0 and 1 hold those present and absent; 2 and 3 the same by the
-- order that a draw gave them.

local SPAN = 2 ^ 40
local STREAM, CALL, ABSENT, ABSENT_BEFORE, GRANTING, TURN = 1, 2, 3, 4, 5, 6
-- As EndReason's names are counted in `end_code`.
local REASONS = {'unclaimed', 'absent', 'pass_expired', 'left', 'revoked', 'completed', 'room_closed', 'merged'}
local CODES = {}
for code, reason in ipairs(REASONS) do
  CODES[reason] = code
end

local users, timers = key('users'), key('timers')

local function decode(user_record)
  if not user_record then
    return nil
  end
  local lane, number, kind, owner = struct.unpack('>I1I4I1I2', user_record)
  return {lane = lane, number = number, kind = kind, owner = owner}
end

local function find_user(user)
  return decode(call('HGET', users, user))
end

local function keep_user(user, rec)
  call('HSET', users, user, struct.pack('>I1I4I1I2', rec.lane, rec.number, rec.kind, rec.owner))
end

local function is_at(rec, lane, number)
  return rec and rec.lane == lane and rec.number == number
end

local function waits(rec)
  return rec.kind <= ABSENT_BEFORE
end

local function is_there(kind)
  return kind == STREAM or kind == CALL
end

-- A place's name as a member or a field.
local function place_name(lane, number)
  return struct.pack('>I2I4', lane, number)
end

local function line_of(lane)
  return key('line:' .. lane)
end

-- Owners. A node is known by a small number while its lease holds.
local owners, leases = {}, {}

local function renew(incarnation)
  if owners[incarnation] then
    return owners[incarnation]
  end
  local owner = call('HGET', key('owners'), incarnation)
  if not owner then
    -- Two bytes: a number comes back only when its lease is forgotten.
    repeat
      put('owners', R.owners % 65535 + 1)
    until not call('ZSCORE', key('leases'), R.owners)
    owner = R.owners
    call('HSET', key('owners'), incarnation, owner)
  end
  owner = tonumber(owner)
  owners[incarnation] = owner
  leases[owner] = true
  call('ZADD', key('leases'), R.now + LEASE_MS, owner)
  return owner
end

local function has_lease(owner)
  if leases[owner] == nil then
    local ends = call('ZSCORE', key('leases'), owner)
    leases[owner] = ends and tonumber(ends) > R.now or false
  end
  return leases[owner]
end

-- Who vouches for a waiting place from now on. `ends` is set with CALL.
local function attend(user, rec, kind, owner, ends)
  if not waits(rec) then
    return
  end
  if rec.kind == STREAM then
    -- A call never weakens a stream.
    if kind == CALL and has_lease(rec.owner) then
      return
    end
    if kind == STREAM and rec.owner == owner then
      return
    end
  end
  if kind == ABSENT then
    if R.grace_from >= 0 then
      ends = R.now + R.grace
    else
      kind = ABSENT_BEFORE
    end
  end
  if ends then
    call('ZADD', timers, ends, user)
  elseif rec.kind == CALL or rec.kind == ABSENT then
    call('ZREM', timers, user)
  end
  local was, is = is_there(rec.kind), is_there(kind)
  if was ~= is then
    call('ZINCRBY', line_of(rec.lane), was and SPAN or -SPAN, user)
    add('absent' .. rec.lane, was and 1 or -1)
    if was then
      note('a[' .. rec.lane .. ',' .. rec.number .. ']')
    end
  end
  rec.kind, rec.owner = kind, owner or 0
  keep_user(user, rec)
end

-- Takes a number out of the line for ever. `rec` is its user's record; nil
-- for a number that nobody claimed since the room was recovered.
local function leave_line(lane, number, user, rec)
  if rec and waits(rec) then
    call('ZREM', line_of(lane), user)
    if rec.kind == CALL or rec.kind == ABSENT then
      call('ZREM', timers, user)
    end
  end
  if not rec or rec.kind == ABSENT or rec.kind == ABSENT_BEFORE then
    add('absent' .. lane, -1)
  end
  if call('SETBIT', key('departed:' .. lane), number, 1) == 0 then
    add('waiting' .. lane, -1)
    pages[lane .. ':' .. math.floor(number / PAGE_BITS)] = R.rev + 1
    note('d' .. lane .. ',' .. number)
  end
end

-- The user's part of an end: the record, the reason, the news.
local function end_place(lane, number, user, id, reason, s_lane, s_number)
  if user and is_at(find_user(user), lane, number) then
    call('HDEL', users, user)
  end
  call('BITFIELD', key('ends:' .. lane), 'SET', 'u4', '#' .. number, CODES[reason])
  local text = '{"place":[' .. lane .. ',' .. number .. '],"why":"' .. reason .. '"'
  if id then
    text = text .. ',"id":"' .. id .. '"'
  end
  if s_lane then
    call('HSET', key('merged'), place_name(lane, number), place_name(s_lane, s_number))
    text = text .. ',"survivor":[' .. s_lane .. ',' .. s_number .. ']'
  end
  note('e' .. text .. '}')
end

local function depart(lane, number, user, rec, reason, s_lane, s_number)
  leave_line(lane, number, user, rec)
  end_place(lane, number, user, nil, reason, s_lane, s_number)
  add('departs', 1)
end

local function is_issued(lane, number)
  return lane < R.lanes and number >= 1 and number <= R['issued' .. lane]
end

local function has_departed(lane, number)
  return call('GETBIT', key('departed:' .. lane), number) == 1
end

local function is_unclaimed(lane, number)
  return number <= R['recovered' .. lane] and call('GETBIT', key('claimed:' .. lane), number) == 0
end

-- Slots: id -> lane number is_active user standing.
local function read_slot(id)
  local text = id and call('HGET', key('slots'), id)
  if not text then
    return nil
  end
  local lane, number, active, user, standing = string.match(text, '^(%d+) (%d+) (%d) (%S+) (.*)$')
  return {lane = tonumber(lane), number = tonumber(number), active = tonumber(active), user = user, standing = standing}
end

local function write_slot(id, slot)
  local text = slot.lane .. ' ' .. slot.number .. ' ' .. slot.active .. ' ' .. slot.user .. ' ' .. slot.standing
  call('HSET', key('slots'), id, text)
end

local function turn_at(lane, number)
  return call('HGET', key('turns'), place_name(lane, number))
end

local function is_granting(lane, number, user)
  return call('ZSCORE', key('granting'), place_name(lane, number) .. user)
end

local function has_left(lane, number, user)
  return call('SISMEMBER', key('left'), place_name(lane, number) .. user) == 1
end

local function end_reason(lane, number)
  local code = call('BITFIELD', key('ends:' .. lane), 'GET', 'u4', '#' .. number)[1]
  return REASONS[code] or 'absent'
end

-- How a place stands: 'waiting', '!' and the reason of its end, or the
-- standing as its row told it.
local function standing_at(lane, number, user)
  if has_departed(lane, number) then
    local slot = read_slot(turn_at(lane, number))
    return slot and slot.standing or '!' .. end_reason(lane, number)
  end
  if is_granting(lane, number, user) then
    return has_left(lane, number, user) and '!left' or 'waiting'
  end
  return R.closed == 1 and '!room_closed' or 'waiting'
end

local function standing_of(user, rec)
  if waits(rec) then
    return R.closed == 1 and '!room_closed' or 'waiting'
  end
  return rec.kind == GRANTING and 'waiting' or standing_at(rec.lane, rec.number, user)
end
