-- Removes a room of this epoch, or of an older one, whoever is building it and
-- whatever this server lost: SQL does not know the room any more.

if R.epoch and R.epoch > tonumber(ARGV[1]) then
  return {'recover'}
end
unlink()
return {'ok'}
