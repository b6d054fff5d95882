if state_of(ARGV[1]) ~= 'running' then
  return 0
end
redis.call('HSET', P .. 'job:' .. ARGV[1], 'progress', ARGV[2])
return 1
