-- Wake clients that wait in a blocking pop of their wake lists. Put in front of the scripts that use it.
-- The caller has already written, so an error here must not end it: it is ignored. An error means that another program
-- spoiled a wake list; the client that owns the list gets the error itself.
local function wake(clients, prefix)
  for _, client in ipairs(clients) do
    redis.pcall('RPUSH', prefix .. client, '')
    redis.pcall('PEXPIRE', prefix .. client, 60000) -- a client that died never reads it
  end
end

-- Wake n workers that wait for a queued task, those with the largest limits first: if the budget has no place left for
-- them, it has none for any other.
local function wake_claimers(idle, n, prefix)
  local woken = redis.pcall('ZPOPMAX', idle, n)
  for i = 1, #woken, 2 do wake({woken[i]}, prefix) end
end

-- Wake all clients that wait for a change of the network.
local function wake_all(waiting, prefix)
  if redis.call('EXISTS', waiting) == 0 then return end
  wake(redis.pcall('SMEMBERS', waiting), prefix)
  redis.call('DEL', waiting)
end
