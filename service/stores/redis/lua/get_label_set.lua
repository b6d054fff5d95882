return redis.call('HMGET', P .. 'label-set:' .. ARGV[1], 'content', 'created_at', 'updated_at')
