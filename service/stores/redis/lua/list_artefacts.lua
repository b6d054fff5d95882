-- Gives what is known of each version, in no order.
local name, kind = ARGV[1], ARGV[2]
local found = {}
for _, version in ipairs(redis.call('ZRANGE', head_key(name, kind) .. ':versions', 0, -1)) do
  local row = about(name, kind, version)
  if row then
    table.insert(found, row)
  end
end
return found
