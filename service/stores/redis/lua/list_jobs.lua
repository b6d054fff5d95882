-- Of one label set, or with '' of all.
local index = ARGV[1] == '' and P .. 'jobs' or P .. 'jobs:of:' .. ARGV[1]
local found = {}
for _, id in ipairs(redis.call('ZREVRANGEBYLEX', index, ARGV[2], '-', 'LIMIT', 0, ARGV[3])) do
  table.insert(found, job(id))
end
return found
