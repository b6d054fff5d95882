-- Processes with unfinished jobs that neither renew their lease nor left in order.
local found, seen = {}, {}
for _, id in ipairs(redis.call('SMEMBERS', P .. 'jobs:unfinished')) do
  local owner = redis.call('HGET', P .. 'job:' .. id, 'owner')
  if owner and not seen[owner] and redis.call('EXISTS', P .. 'owner:' .. owner) == 0 then
    table.insert(found, owner)
  end
  seen[owner or ''] = true
end
return found
