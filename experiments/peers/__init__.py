"""rush compared with Optuna, DeepHyper, Hyperopt and SMAC3: quality and speed; see README.md."""
