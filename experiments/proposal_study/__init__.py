"""How should a proposal be made, and should it use running points of others? See README.md."""
