-- Tell whether a record belongs to a worker, whose packed id follows the first byte.
-- Put in front of the scripts that use it.
local function belongs_to(record, worker)
  return string.sub(record, 2, 1 + #worker) == worker
end
