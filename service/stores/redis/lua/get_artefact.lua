-- Gives {about, tensors} of a version, or with '' of the active one; nil when it is not kept.
local name, kind, version = ARGV[1], ARGV[2], ARGV[3]
if version == '' then
  version = redis.call('HGET', head_key(name, kind), 'active')
end
local row = version and about(name, kind, version)
if not row then
  return false
end
return {row, redis.call('HGET', version_key(name, kind, version), 'tensors')}
