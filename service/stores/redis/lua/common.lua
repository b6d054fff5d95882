-- What the scripts share. A script is one transaction: nothing runs beside it, and Redis refuses it as a whole, at its
-- first write, where it has no memory left or may not write. So every script looks at all that it needs before it writes.
--
-- Keys, after the prefix P that precedes this text:
--   epoch                             at random, new when everything was lost
--   label-sets                        sorted set of names
--   label-set:NAME                    hash: content, digest, created_at, updated_at
--   artefacts:NAME:KIND               hash: newest, active, activations; outlives the versions, so that no number is
--                                     given twice
--   artefacts:NAME:KIND:versions      sorted set of kept versions by their last activation
--   artefact:NAME:KIND:VERSION        hash: digest, metadata, created_at, tensors
--   jobs, jobs:of:NAME                sorted sets of ids
--   jobs:unfinished, jobs:finished    set of ids; sorted set of ids by when they finished
--   job:ID                            hash
--   owner:OWNER                       `here` while that process renews it, `gone` once it has left in order
--   changes                           channel: the name of each label set that changes in any way
-- Times are microseconds on the clock of Redis, in decimal text: as numbers Lua would write them with an exponent.

local function now()
  local time = redis.call('TIME')
  return time[1] .. string.format('%06d', tonumber(time[2]))
end

-- To be called before the first write: whoever may not publish is then refused as a whole. Others hear of it afterwards.
local function publish(name)
  redis.call('PUBLISH', P .. 'changes', name)
end

-- Why what was made for contents with `digest` may not be stored; nil when it may.
local function objection(name, digest)
  local current = redis.call('HGET', P .. 'label-set:' .. name, 'digest')
  if not current then
    return 'missing'
  end
  if current ~= digest then
    return 'changed'
  end
  return nil
end

local function head_key(name, kind)
  return P .. 'artefacts:' .. name .. ':' .. kind
end

local function version_key(name, kind, version)
  return P .. 'artefact:' .. name .. ':' .. kind .. ':' .. version
end

-- {version, digest, metadata, created_at, active}; nil when it is not kept.
local function about(name, kind, version)
  local found = redis.call('HMGET', version_key(name, kind, version), 'digest', 'metadata', 'created_at')
  if not found[1] then
    return nil
  end
  local active = redis.call('HGET', head_key(name, kind), 'active') == version
  return {version, found[1], found[2], found[3], active and '1' or '0'}
end

-- Make the next version the active one, and forget those that were active longest ago beyond `kept`.
local function put_artefact(name, kind, digest, metadata, tensors, kept)
  publish(name)
  local head = head_key(name, kind)
  local version = tostring(redis.call('HINCRBY', head, 'newest', 1))
  local activation = redis.call('HINCRBY', head, 'activations', 1)
  redis.call('HSET', head, 'active', version)
  redis.call('HSET', version_key(name, kind, version), 'digest', digest, 'metadata', metadata, 'created_at', now(),
    'tensors', tensors)
  redis.call('ZADD', head .. ':versions', activation, version)
  for _, old in ipairs(redis.call('ZREVRANGE', head .. ':versions', kept, -1)) do
    redis.call('DEL', version_key(name, kind, old))
    redis.call('ZREM', head .. ':versions', old)
  end
  return version
end

-- How many versions there were. Their count stays.
local function delete_versions(name, kind)
  local head = head_key(name, kind)
  local versions = redis.call('ZRANGE', head .. ':versions', 0, -1)
  for _, version in ipairs(versions) do
    redis.call('DEL', version_key(name, kind, version))
  end
  redis.call('DEL', head .. ':versions')
  redis.call('HDEL', head, 'active')
  return #versions
end

local function job(id)
  return redis.call('HGETALL', P .. 'job:' .. id)
end

local function state_of(id)
  return redis.call('HGET', P .. 'job:' .. id, 'state')
end

local function is_unfinished(id)
  return redis.call('SISMEMBER', P .. 'jobs:unfinished', id) == 1
end

local function end_job(id, ...)
  local at = now()
  redis.call('HSET', P .. 'job:' .. id, 'finished_at', at, ...)
  redis.call('SREM', P .. 'jobs:unfinished', id)
  redis.call('ZADD', P .. 'jobs:finished', at, id)
end

-- The label set's jobs, of one kind, or with '' of all.
local function cancel_unfinished(name, kind, why)
  for _, id in ipairs(redis.call('SMEMBERS', P .. 'jobs:unfinished')) do
    local found = redis.call('HMGET', P .. 'job:' .. id, 'label_set', 'kind')
    if found[1] == name and (kind == '' or found[2] == kind) then
      end_job(id, 'state', 'cancelled', 'error', why)
    end
  end
end

local function forget_job(id)
  local name = redis.call('HGET', P .. 'job:' .. id, 'label_set')
  redis.call('DEL', P .. 'job:' .. id)
  redis.call('ZREM', P .. 'jobs', id)
  redis.call('ZREM', P .. 'jobs:finished', id)
  if name then
    redis.call('ZREM', P .. 'jobs:of:' .. name, id)
  end
end
