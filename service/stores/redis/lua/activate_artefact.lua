-- Gives {'none'}, {'unfit', about} or {'active', about}.
local name, kind, version = ARGV[1], ARGV[2], ARGV[3]
local row = about(name, kind, version)
if not row then
  return {'none'}
end
if objection(name, row[2]) then
  return {'unfit', row}
end
publish(name)
local head = head_key(name, kind)
redis.call('HSET', head, 'active', version)
redis.call('ZADD', head .. ':versions', redis.call('HINCRBY', head, 'activations', 1), version)
return {'active', about(name, kind, version)}
