-- Remove a registered worker: it is out, and its running tasks are queued again or failed. Put in front of the scripts
-- that remove workers, which have the same KEYS and ARGV: see remove_worker.lua.
local function corrupt(key, what)
  return redis.error_reply('CORRUPT ' .. key .. ' holds bytes that are no ' .. what)
end

local function is_registered() return redis.call('HEXISTS', KEYS[1], ARGV[2]) == 1 end

-- The reply for a worker that is not registered. The end holds a time of the caller's own clock: if the record has the
-- same end, this call has removed the worker before, and its reply was lost.
local function reply_if_ended()
  local ended = redis.call('HGET', KEYS[2], ARGV[2])
  return ended and string.sub(ended, -#ARGV[3]) == ARGV[3] and 1 or -1
end

-- Return the running tasks of the worker as a list of key, record, key, record; or an error.
local function find_tasks()
  local running, mine = redis.call('HGETALL', KEYS[3]), {}
  for i = 1, #running, 2 do
    local key, record = running[i], running[i + 1]
    if belongs_to(record, ARGV[4]) then
      -- After the worker_id: attempt in one byte; at the end: started_at.
      local is_whole = #record >= #ARGV[4] + FLOAT_SIZE + 4 and string.sub(record, -FLOAT_SIZE, -FLOAT_SIZE) == FLOAT
      if string.sub(record, 1, 1) ~= RUNNING or not is_whole then return corrupt(KEYS[3], 'task record: ' .. key) end
      mine[#mine + 1], mine[#mine + 2] = key, record
    end
  end
  return mine
end

-- Queue a task again, or fail it if it was lost too often.
local function give_up_task(key, record)
  local attempt = string.byte(record, 2 + #ARGV[4])
  if attempt < tonumber(ARGV[6]) then
    local rest = string.sub(record, 3 + #ARGV[4], -1 - FLOAT_SIZE)
    redis.call('LPUSH', KEYS[4], QUEUED_BEGIN .. string.char(attempt + 1) .. rest)
  else
    redis.call('RPUSH', KEYS[5], ENDED .. string.sub(record, 2) .. ARGV[5])
    -- Its outcome is unknown: release the mark of a unique task, so that the same task may be started again.
    if string.sub(key, 9, 9) == ':' then redis.pcall('SREM', KEYS[9], string.sub(key, 1, 8)) end
  end
  redis.call('HDEL', KEYS[3], key)
end

local function remove()
  -- Everything is checked before the first write: an error between two writes would leave a worker half removed.
  local worker = redis.call('HGET', KEYS[2], ARGV[2])
  if not worker or string.sub(worker, 1, 1) ~= WORKER then return corrupt(KEYS[2], 'record of worker ' .. ARGV[2]) end
  if not tonumber(redis.call('GET', KEYS[6]) or 0) then return corrupt(KEYS[6], 'number') end
  redis.call('LLEN', KEYS[4])
  redis.call('LLEN', KEYS[5])
  local tasks = find_tasks()
  if tasks.err then return tasks end
  -- Writes that need memory come first: if a server out of memory refuses them, nothing has changed.
  redis.call('HSET', KEYS[2], ARGV[2], ENDED_WORKER .. string.sub(worker, 2) .. ARGV[3])
  for i = 1, #tasks, 2 do give_up_task(tasks[i], tasks[i + 1]) end
  redis.call('DECRBY', KEYS[6], #tasks / 2)
  redis.call('HDEL', KEYS[1], ARGV[2])
  redis.call('DEL', KEYS[10])
  -- If the worker is alive and waits for a task, wake it, so that it learns that it is out.
  if redis.pcall('ZREM', KEYS[7], ARGV[2]) == 1 then wake({ARGV[2]}, ARGV[1]) end
  -- The worker may have been woken for a queued task: wake others for what is queued.
  local n_queued = redis.call('LLEN', KEYS[4])
  if n_queued > 0 then wake_claimers(KEYS[7], n_queued, ARGV[1]) end
  wake_all(KEYS[8], ARGV[1])
  return 1
end
