-- Gives the job, or nothing when it is not queued. `again`: whether it was asked before, with no answer.
local id, owner, again = ARGV[1], ARGV[2], ARGV[3]
local state = state_of(id)
if state == 'queued' then
  redis.call('HSET', P .. 'job:' .. id, 'state', 'running', 'started_at', now())
  return job(id)
end
if again == '1' and state == 'running' and redis.call('HGET', P .. 'job:' .. id, 'owner') == owner then
  return job(id)
end
return {}
