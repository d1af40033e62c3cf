-- Every key that a room can have.

local WORDS = {'users', 'timers', 'owners', 'leases', 'granting', 'left', 'slots', 'due', 'turns', 'merged', 'pages', 'pending', 'log', 'policy'}
local WORDS_OF_LANES = {'line:', 'departed:', 'claimed:', 'ends:'}

local function unlink()
  local names = {room}
  for _, word in ipairs(WORDS) do
    names[#names + 1] = key(word)
  end
  for lane = 0, LANES_MAX - 1 do
    for _, word in ipairs(WORDS_OF_LANES) do
      names[#names + 1] = key(word .. lane)
    end
  end
  call('UNLINK', unpack(names))
end
