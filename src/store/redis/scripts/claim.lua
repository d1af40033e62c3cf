-- An ACTIVATED row became ACTIVE, perhaps before anyone confirmed it.
-- ARGV from 4: a row.

advance()
local row = read_row(4)
local slot = read_slot(row.id)
if row.id == '' then
  -- It has ended: `free` brings that.
elseif not slot then
  confirm(row)
elseif slot.active == 0 then
  slot.active, slot.standing = row.active, row.standing
  write_slot(row.id, slot)
  add('active', row.active)
  set_due(row.id, R.now + row.remaining_ms)
  note('c[' .. row.lane .. ',' .. row.number .. ',' .. row.standing .. ']')
end
save()
return {'ok'}
