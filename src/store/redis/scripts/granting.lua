-- A place takes a slot; its row is written next.

local function to_granting(user, rec)
  if waits(rec) then
    call('ZREM', line_of(rec.lane), user)
    if rec.kind == CALL or rec.kind == ABSENT then
      call('ZREM', timers, user)
    end
    if not is_there(rec.kind) then
      add('absent' .. rec.lane, -1)
    end
  end
  rec.kind, rec.owner = GRANTING, 0
  keep_user(user, rec)
  call('ZADD', key('granting'), R.now, place_name(rec.lane, rec.number) .. user)
  add('granting', 1)
  add('served' .. rec.lane, 1)
end
