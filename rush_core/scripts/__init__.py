"""The Lua scripts that run in the server, and the table of their names, keys and prefixes."""
