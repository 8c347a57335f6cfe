-- Remove a worker; if it never joined, refuse it should it try to. Otherwise like remove_worker.lua.
-- The manager that started the worker uses this: the worker may be about to join.
-- KEYS: clients, workers, running, queued, failed, started, idle, waiting, unique, the worker's heartbeat, unwanted
-- ARGV: wake prefix, worker_id, packed end of the worker, packed worker_id, packed end of its tasks,
--       how often a task may be queued again
-- Returns: 1; -1: the worker is not registered, and no task was moved
-- Guard: the worker is registered: of several clients that remove it, one wins.
-- Uses: record.lua, float.lua, owner.lua, wake.lua, removal.lua
if is_registered() then return remove() end
if redis.call('HEXISTS', KEYS[2], ARGV[2]) == 0 then redis.call('SADD', KEYS[11], ARGV[2]) end
return reply_if_ended()
