-- A process leaves in order: what it left unfinished may be failed at once, for ARGV[2] milliseconds.
redis.call('SET', P .. 'owner:' .. ARGV[1], 'gone', 'PX', ARGV[2])
return 0
