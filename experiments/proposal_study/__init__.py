"""How should a proposal be made, and what do others' running points tell; see README.md."""
