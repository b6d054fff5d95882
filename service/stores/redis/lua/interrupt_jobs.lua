-- Fail the unfinished jobs of processes that have left, or of those that ARGV[2…] names and that have no lease still.
-- Gives those jobs.
local why, judged, failed = ARGV[1], {}, {}
for index = 2, #ARGV do
  judged[ARGV[index]] = true
end
for _, id in ipairs(redis.call('SMEMBERS', P .. 'jobs:unfinished')) do
  local owner = redis.call('HGET', P .. 'job:' .. id, 'owner')
  local lease = owner and redis.call('GET', P .. 'owner:' .. owner)
  if not owner then
    redis.call('SREM', P .. 'jobs:unfinished', id)
  elseif lease == 'gone' or (not lease and judged[owner]) then
    end_job(id, 'state', 'failed', 'error', why)
    table.insert(failed, job(id))
  end
end
return failed
