-- Gives {1 when it was unfinished, the job as it is now}.
local id, state, why = ARGV[1], ARGV[2], ARGV[3]
if not is_unfinished(id) then
  return {0, job(id)}
end
end_job(id, 'state', state, 'error', why)
return {1, job(id)}
