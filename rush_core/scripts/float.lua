-- Names for the bytes of a float in a record. Put in front of the scripts that use them.
local FLOAT = '\203'   -- first byte
local FLOAT_SIZE = 9   -- bytes, the first included
