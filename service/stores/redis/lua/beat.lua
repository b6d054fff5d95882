-- Renew a lease for ARGV[2] milliseconds. Gives the epoch; ARGV[3] is a new one, for where there is none.
redis.call('SET', P .. 'owner:' .. ARGV[1], 'here', 'PX', ARGV[2])
redis.call('SET', P .. 'epoch', ARGV[3], 'NX')
return redis.call('GET', P .. 'epoch')
