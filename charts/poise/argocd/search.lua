-- Health of a Search for Argo CD.  A Search that runs is healthy: waiting for its end would block a sync for days.
-- Degraded and Suspended come from conditions, which the controller writes for the generation that it has seen.
local hs = {}
local status = obj.status

if status == nil or status.conditions == nil then
  hs.status = "Progressing"
  hs.message = "Waiting for the controller"
  return hs
end

if obj.metadata.generation ~= nil and status.observedGeneration ~= obj.metadata.generation then
  hs.status = "Progressing"
  hs.message = "Waiting for the controller to see the latest change"
  return hs
end

local holds = {}
for _, condition in ipairs(status.conditions) do
  if condition.status == "True" then
    holds[condition.type] = condition
  end
end

for _, kind in ipairs({"Failed", "Stalled"}) do
  if holds[kind] ~= nil then
    hs.status = "Degraded"
    hs.message = holds[kind].reason .. ": " .. (holds[kind].message or "")
    return hs
  end
end

hs.message = status.message or ""
if holds["Suspended"] ~= nil then
  hs.status = "Suspended"
elseif holds["Ready"] ~= nil then
  hs.status = "Healthy"
else
  hs.status = "Progressing"
end
return hs
