-- The beginning of the steps that make a room. One that is being made belongs
-- to its builder until the last step, and answers nothing else.
--
-- ARGV: 1, 2 and 3 as everywhere, 4 the builder's name.

local function is_mine()
  return R.epoch == tonumber(ARGV[1]) and R.building and R.builder == ARGV[4] and R.run == run_id()
end

local save = save_fields
