-- Remove a worker that leaves or was killed: it is out, and its running tasks are queued again or failed.
-- KEYS: clients, workers, running, queued, failed, started, idle, waiting, unique, the worker's heartbeat, unwanted
-- ARGV: wake prefix, worker_id, packed end of the worker, packed worker_id, packed end of its tasks,
--       how often a task may be queued again
-- Returns: 1; -1: the worker is not registered, nothing was written
-- Guard: the worker is registered: of several clients that remove it, one wins. The places of its tasks in the budget
--        are given back.
-- Uses: record.lua, float.lua, owner.lua, wake.lua, removal.lua
if not is_registered() then return reply_if_ended() end
return remove()
