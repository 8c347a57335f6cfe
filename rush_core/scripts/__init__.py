"""Server-side scripts, one per transition; each opens with its keys, arguments and guard."""
