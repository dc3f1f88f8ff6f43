-- Health of a Candidate for Argo CD.  Its spec cannot change, so what is under way is healthy, and only its end may not be.
local hs = {}
local status = obj.status

if status == nil or status.phase == nil then
  hs.status = "Progressing"
  hs.message = "Waiting for the controller"
  return hs
end

if obj.metadata.generation ~= nil and status.observedGeneration ~= nil
  and status.observedGeneration ~= obj.metadata.generation then
  hs.status = "Progressing"
  hs.message = "Waiting for the controller to see the latest change"
  return hs
end

hs.message = status.phase
if status.message ~= nil and status.message ~= "" then
  hs.message = status.phase .. ": " .. status.message
end
if status.phase == "Failed" or status.phase == "Rejected" then
  hs.status = "Degraded"
else
  hs.status = "Healthy"
end
return hs
