-- Gives {kind, about} for each kind of ARGV[2…] that has an active version.
local found = {}
for index = 2, #ARGV do
  local kind = ARGV[index]
  local version = redis.call('HGET', head_key(ARGV[1], kind), 'active')
  local row = version and about(ARGV[1], kind, version)
  if row then
    table.insert(found, {kind, row})
  end
end
return found
