-- Count the tasks in each place, all at the same moment.
-- KEYS: queued, running, finished, failed
-- Returns: four counts, in this order
return {
  redis.call('LLEN', KEYS[1]), redis.call('HLEN', KEYS[2]),
  redis.call('LLEN', KEYS[3]), redis.call('LLEN', KEYS[4]),
}
