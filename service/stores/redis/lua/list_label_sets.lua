local found = {}
for _, name in ipairs(redis.call('ZRANGEBYLEX', P .. 'label-sets', ARGV[1], '+', 'LIMIT', 0, ARGV[2])) do
  local row = redis.call('HMGET', P .. 'label-set:' .. name, 'content', 'created_at', 'updated_at')
  table.insert(found, {name, row})
end
return found
