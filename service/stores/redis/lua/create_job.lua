-- Gives {why not} or {'created', job}.
local id, owner, kind, name, digest, request_id, superseded = unpack(ARGV)
local why = objection(name, digest)
if why then
  return {why}
end
redis.call('HSET', P .. 'job:' .. id, 'id', id, 'owner', owner, 'kind', kind, 'label_set', name, 'digest', digest,
  'request_id', request_id, 'state', 'queued', 'progress', '0.0', 'created_at', now())
cancel_unfinished(name, kind, superseded)
redis.call('SADD', P .. 'jobs:unfinished', id)
redis.call('ZADD', P .. 'jobs', 0, id)
redis.call('ZADD', P .. 'jobs:of:' .. name, 0, id)
return {'created', job(id)}
