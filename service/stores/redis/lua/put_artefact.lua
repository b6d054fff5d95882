-- Gives {why not} or {'stored', about}.
local name, kind, digest, metadata, tensors, kept = unpack(ARGV)
local why = objection(name, digest)
if why then
  return {why}
end
return {'stored', about(name, kind, put_artefact(name, kind, digest, metadata, tensors, kept))}
