-- Prepare to sleep until something changes; a blocking pop of the client's wake list follows in the same send.
-- KEYS: finished, failed, workers, waiting, the client's wake list, clients
-- ARGV: client, how many finished tasks, failed tasks and workers that ever joined the client knows of
-- Returns: nothing. A worker that is asked to stop does not sleep: nobody would wake it for that again.
if redis.call('LLEN', KEYS[1]) == tonumber(ARGV[2]) and redis.call('LLEN', KEYS[2]) == tonumber(ARGV[3])
    and redis.call('HLEN', KEYS[3]) == tonumber(ARGV[4])
    and string.sub(redis.call('HGET', KEYS[6], ARGV[1]) or '', -1) ~= 's' then
  redis.call('SADD', KEYS[4], ARGV[1])
else
  redis.call('RPUSH', KEYS[5], '')
end
