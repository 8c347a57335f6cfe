"""What all figures share: one colour per meaning."""

BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#777777"
LIGHT = "#cccccc"

# One colour per strategy everywhere.
STRATEGY_COLOURS = {"adbo": BLUE, "acbo": ORANGE, "clbo": GREEN, "random": GREY}
