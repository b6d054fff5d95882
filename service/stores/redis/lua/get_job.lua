return job(ARGV[1])
