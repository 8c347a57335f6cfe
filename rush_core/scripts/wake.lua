-- Wake clients that sleep in a blocking pop of their wake lists. Put in front of the scripts that use it.
-- By then the script has written: a wake list that another program spoiled must not end it (its owner is told).
local function wake(clients, prefix)
  for _, client in ipairs(clients) do
    redis.pcall('RPUSH', prefix .. client, '')
    redis.pcall('PEXPIRE', prefix .. client, 60000) -- a client that died never reads it
  end
end

-- First those that may go furthest in the budget: what they have no place for, no other sleeper has one for.
local function wake_claimers(idle, n, prefix)
  local woken = redis.pcall('ZPOPMAX', idle, n)
  for i = 1, #woken, 2 do wake({woken[i]}, prefix) end
end

local function wake_all(sleepers, prefix)
  if redis.call('EXISTS', sleepers) == 0 then return end
  wake(redis.pcall('SMEMBERS', sleepers), prefix)
  redis.call('DEL', sleepers)
end
