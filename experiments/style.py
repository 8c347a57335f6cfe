"""The style of all figures: one colour per meaning."""

BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#777777"
LIGHT = "#cccccc"

# One colour per strategy everywhere.
STRATEGY_COLOURS = {"adbo": BLUE, "acbo": ORANGE, "clbo": GREEN, "random": GREY}

# The same for packages; ours is ADBO's.
PEER_COLOURS = {
    "rush ADBO": BLUE,
    "Optuna TPE": ORANGE,
    "Optuna TPE, univariate": "#e69f00",
    "Optuna GP": "#8c3b00",
    "DeepHyper CBO": GREEN,
    "Hyperopt TPE": "#cc79a7",
    "SMAC3": "#56b4e9",
    "Sobol points": LIGHT,
    "random": GREY,
}
