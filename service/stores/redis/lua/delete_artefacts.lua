publish(ARGV[1])
return delete_versions(ARGV[1], ARGV[2])
