-- Gives the label set.
local name, content, digest, why = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local key = P .. 'label-set:' .. name
local before = redis.call('HGET', key, 'digest')
local at = now()
publish(name)
redis.call('HSET', key, 'content', content, 'digest', digest, 'updated_at', at)
redis.call('HSETNX', key, 'created_at', at)
redis.call('ZADD', P .. 'label-sets', 0, name)
if before and before ~= digest then
  cancel_unfinished(name, '', why)
end
return redis.call('HMGET', key, 'content', 'created_at', 'updated_at')
