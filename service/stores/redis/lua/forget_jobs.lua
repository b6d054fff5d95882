-- Finished jobs that ended more than ARGV[1] microseconds ago, or before the ARGV[2] that ended last.
local oldest = string.format('%.0f', tonumber(now()) - tonumber(ARGV[1]))
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'jobs:finished', '-inf', '(' .. oldest)) do
  forget_job(id)
end
for _, id in ipairs(redis.call('ZREVRANGE', P .. 'jobs:finished', ARGV[2], -1)) do
  forget_job(id)
end
return 0
