-- Names for the bytes of records. Put in front of the scripts that use them.
-- A record is a MessagePack array; kernel/task.py, kernel/report.py and kernel/workers.py name its fields.
-- Its first byte is 144 + the number of fields. The id of the worker follows at once.
local QUEUED, RUNNING, ENDED = '\149', '\150', '\154'  -- first byte of a task: 5, 6, 10 fields
local REPORT = '\149'                                  -- of a report: 5 fields
local WORKER, ENDED_WORKER = '\150', '\153'            -- of a worker: 6, 9 fields
local QUEUED_BEGIN = '\149\160'                        -- first bytes of a queued task: its worker_id is empty
local NIL = '\192'                                     -- no value
local TEXT = 160                                       -- first byte of a text of n < 32 bytes: 160 + n
