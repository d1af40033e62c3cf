-- From now on absence runs out; those absent now have a whole grace.

local function start_grace()
  put('rebuild_until', -1)
  if R.opened == 1 then
    put('grace_from', R.now)
    put('sweep_at', R.now + R.grace)
    put('sweep_lane', 0)
    put('sweep_score', 0)
    put('sweep_number', 1)
  end
end
