-- Takes a room's keys for a new epoch, unless it is there in the same or a
-- newer one. ARGV: 5 opened, 6 departures, 7 slots, 8 active, 9 as
-- `read_policy` reads it; then the number of lanes and for each issued,
-- reserved, served, waiting, absent, opening; then revisions of pages are
-- 1 for each further `lane:page`.

local epoch = tonumber(ARGV[1])
local is_there = R.epoch and (R.epoch > epoch or (R.epoch == epoch and R.run == run_id() and not R.building))
if is_there then
  return {'kept'}
end

unlink()

R = {closed = 0}
for field, value in pairs({
  epoch = epoch, run = run_id(), building = server_ms(), builder = ARGV[4], seen = server_ms(),
  now = 0, ticked = 0, rev = 0, dirty = 0, published = 0, tokens = 1, opened = tonumber(ARGV[5]),
  grace_from = -1, sweep_at = -1, rebuild_until = -1, owners = 0, walk = '', granting = 0,
  departs = tonumber(ARGV[6]), slots = tonumber(ARGV[7]), active = tonumber(ARGV[8]),
  joins_total = 0, activations_total = 0, unclaimed_total = 0, lanes = 0,
}) do
  put(field, value)
end
changed.closed = true
local i = read_policy(9)
local lanes = tonumber(ARGV[i])
i = i + 1
for lane = 0, lanes - 1 do
  add_lane(lane)
  put('issued' .. lane, tonumber(ARGV[i]))
  put('recovered' .. lane, tonumber(ARGV[i]))
  put('reserved' .. lane, tonumber(ARGV[i + 1]))
  put('served' .. lane, tonumber(ARGV[i + 2]))
  put('waiting' .. lane, tonumber(ARGV[i + 3]))
  put('absent' .. lane, tonumber(ARGV[i + 4]))
  local opening = ARGV[i + 5]
  if opening ~= 'fifo' and opening ~= 'await' then
    put('draw' .. lane, opening)
  end
  i = i + 6
end
for page = i, #ARGV do
  call('ZADD', key('pages'), 1, ARGV[page])
end
save()
return {'ok'}
