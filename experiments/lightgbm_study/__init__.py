"""LightGBM tuned by ADBO, ACBO, CLBO and random search, with the CPU time of every worker."""
