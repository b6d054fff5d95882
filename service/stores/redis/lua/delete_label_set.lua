-- Gives 1 when there was one. From ARGV[3] on: every kind of artefact.
local name, why = ARGV[1], ARGV[2]
publish(name)
cancel_unfinished(name, '', why)
for index = 3, #ARGV do
  delete_versions(name, ARGV[index])
  redis.call('DEL', head_key(name, ARGV[index]))
end
redis.call('ZREM', P .. 'label-sets', name)
return redis.call('DEL', P .. 'label-set:' .. name)
