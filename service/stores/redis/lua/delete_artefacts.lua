local count = delete_versions(ARGV[1], ARGV[2])
publish(ARGV[1])
return count
