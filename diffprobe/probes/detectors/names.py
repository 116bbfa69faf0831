"""What the detectors are called, in records and in words, and what each of them knows."""

# Detector -> its name in words.
LABELS = {
    "trajectory_variance": "trajectory variance",
    "trajectory_variance_worst_cell": "trajectory variance, worst cell",
    "ldr": "LDR",
    "symbol_entropy": "symbol entropy",
    "renoising": "re-noising",
    "distance_to_product": "distance to product",
    "distance_to_bayes": "distance to Bayes",
    "odds_under_grammar": "odds under the grammar",
}
# What each knows besides the denoiser.
KNOWS = {
    "trajectory_variance": "nothing",
    "trajectory_variance_worst_cell": "nothing",
    "ldr": "nothing",
    "symbol_entropy": "symbols",
    "renoising": "symbols",
    "distance_to_product": "symbols",
    "distance_to_bayes": "grammar",
    "odds_under_grammar": "grammar",
}
