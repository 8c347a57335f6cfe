-- Remove a worker that has sent no heartbeat since the given one; otherwise like remove_worker.lua.
-- KEYS: clients, workers, running, queued, failed, started, idle, waiting, unique, the worker's heartbeat, unwanted
-- ARGV: wake prefix, worker_id, packed end of the worker, packed worker_id, packed end of its tasks,
--       how often a task may be queued again, the last heartbeat that was seen ('' for none)
-- Returns: 1; -1: the worker is not registered or has sent another heartbeat, nothing was written
-- Guard: the worker is registered and has sent no heartbeat: of several clients that find it lost, one wins.
-- Uses: record.lua, float.lua, owner.lua, wake.lua, removal.lua
if not is_registered() then return reply_if_ended() end
if (redis.call('GET', KEYS[10]) or '') ~= ARGV[7] then return -1 end
return remove()
