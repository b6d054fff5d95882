-- Gives {why not}, or {'over', job} with the job as it is now, or with nothing when it was not running.
-- With an artefact: metadata, tensors and how many versions are kept follow.
local id, again, result = ARGV[1], ARGV[2], ARGV[3]
local metadata, tensors, kept = ARGV[4], ARGV[5], ARGV[6]
local state = state_of(id)
if again == '1' and state == 'succeeded' then
  return {'over', job(id)}
end
if state ~= 'running' then
  return {'over', {}}
end
local version = ''
if metadata then
  local of = redis.call('HMGET', P .. 'job:' .. id, 'label_set', 'kind', 'digest')
  local why = objection(of[1], of[3])
  if why then
    return {why, of[1]}
  end
  version = put_artefact(of[1], of[2], of[3], metadata, tensors, kept)
end
end_job(id, 'state', 'succeeded', 'progress', '1.0', 'result', result, 'version', version)
return {'over', job(id)}
