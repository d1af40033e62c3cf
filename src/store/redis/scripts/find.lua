-- The user's live place. ARGV: 4 user.

local rec = find_user(ARGV[4])
if not rec then
  return {'ok'}
end
return {'ok', rec.lane, rec.number, standing_of(ARGV[4], rec)}
