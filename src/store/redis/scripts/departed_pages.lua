-- Pages of departed numbers changed after a revision. ARGV: 4 it.

local answer = {'ok', R.rev}
for _, name in ipairs(call('ZRANGE', key('pages'), '(' .. ARGV[4], '+inf', 'BYSCORE')) do
  local lane, page = string.match(name, '^(%d+):(%d+)$')
  local first = tonumber(page) * PAGE_BITS / 8
  answer[#answer + 1] = {tonumber(lane), tonumber(page), call('GETRANGE', key('departed:' .. lane), first, first + PAGE_BITS / 8 - 1)}
end
return answer
