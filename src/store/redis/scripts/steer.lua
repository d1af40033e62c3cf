-- A node says how strained its sale is; see steering.rs. ARGV: 4 the strain in
-- thousandths of its target, 5 the rate's least part, 6 the time in which a
-- change settles.

advance()
local said, settle = tonumber(ARGV[4]), tonumber(ARGV[6])

local function change(by)
  put('steer_rate', R.steer_rate * by)
  put('steer_changed', R.now)
  put('steer_picks', 0)
end

local function decide()
  local since = R.now - R.steer_changed
  local worst, settled = R.steer_worst, since >= settle
  if worst > 1000 then
    if settled or worst >= R.steer_cut * 2 then
      change(math.min(math.max(1000 / worst, 0.5), 0.9))
      put('steer_cut', worst)
      put('steer_was_cut', 1)
    end
    return
  end
  put('steer_cut', 0)
  if worst > 800 or not settled then
    return
  end
  if R.steer_picks * 2000 >= R.steer_rate * since then
    change(R.steer_was_cut == 1 and 1.1 or 2)
  else
    change(1)
  end
end

if not is_steered() then
  for _, field in ipairs({'rate', 'picks', 'worst', 'cut', 'was_cut'}) do
    put('steer_' .. field, 0)
  end
  put('steer_decided', R.now)
  put('steer_changed', R.now)
end
put('steer_heard', R.now)
put('steer_worst', math.max(R.steer_worst, said))
if R.now - R.steer_decided >= STEER_EVERY_MS then
  put('steer_decided', R.now)
  decide()
  put('steer_worst', 0)
end
put('steer_rate', math.min(math.max(R.steer_rate, R.rate * tonumber(ARGV[5])), R.rate))
save()
return {'ok', string.format('%.17g', rate_in_effect())}
