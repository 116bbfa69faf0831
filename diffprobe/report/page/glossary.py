"""The words of the page, explained: beside the words themselves, and all in one place."""

# Key -> the term, and what it means in a sentence or two.
GLOSSARY: dict[str, tuple[str, str]] = {
    "legible": (
        "legible",
        "Every cell of the sample can be read as a symbol, with a confidence of 0.7 or more. "
        "This is decided first; the grammar is asked only of what can be read.",
    ),
    "grammatical": (
        "grammatical",
        "The word that was read obeys the grammar. A share of the legible samples.",
    ),
    "product": (
        "product of marginals",
        "Words whose symbols are drawn one by one, each as often in its place as in the language. "
        "What a network makes that draws perfect symbols and knows no rule; its share of valid "
        "words is what chance gives.",
    ),
    "bayes": (
        "Bayes optimum",
        "The best denoiser there is, computed exactly from grammar and glyphs, not learned.",
    ),
    "local": (
        "product (local) optimum",
        "The best denoiser that looks at each cell alone: it knows the symbols and no grammar.",
    ),
    "empirical": (
        "empirical optimum",
        "The best denoiser for the training set alone: it recalls its images and nothing else.",
    ),
    "log-snr": (
        "log-SNR",
        "How clean an image is: the natural logarithm of signal over noise power, "
        "log(alpha²/sigma²), in nats. −10 is almost all noise, 0 half of each, 10 almost clean.",
    ),
    "jacobian": (
        "‖J‖²",
        "The sum of the squared derivatives of all pixels of an output cell by all pixels of an "
        "input cell: how strongly the one answers to the other.",
    ),
    "ldr": (
        "LDR",
        "Local dependency ratio: of all that the outputs depend on (‖J‖²), the share that lies in "
        "the same cell of the input. At 1 each cell listens only to itself.",
    ),
    "excess": (
        "excess LDR",
        "The network’s LDR minus that of the Bayes optimum on the same inputs. Above 0 the network "
        "is more local than it should be; the LDR alone proves nothing.",
    ),
    "gamma": (
        "gamma",
        "The share of the grammar that the network uses: how far its outputs go from the product "
        "optimum (0) towards the Bayes optimum (1). Not defined where the grammar is worth "
        "nothing.",
    ),
    "mu": (
        "mu",
        "How much of its training set the network recalls, above what it seems to recall of other "
        "sets of words, drawn alike, that it has never seen: 0 nothing, 1 all.",
    ),
    "placebo": (
        "placebo set",
        "As many words as the training set has, drawn alike, which the network has not seen.",
    ),
    "total-correlation": (
        "total correlation",
        "What the grammar is worth, in nats: by how much the symbols of a word are less random "
        "together than each for itself.",
    ),
    "nat": ("nat", "The unit of information with natural logarithms; 0.693 nats are one bit."),
    "interval": (
        "95 % interval",
        "The range of values that fit what was seen. Of a hundred such ranges about 95 hold the "
        "true number.",
    ),
    "floor": (
        "noise floor",
        "What as many samples would show by chance if there were nothing to find.",
    ),
    "walsh": (
        "Walsh coefficient",
        "For words of two symbols, read as −1 and +1: the mean product over some cells. Its order "
        "is the number of cells; over all cells it is the parity of the word.",
    ),
    "cramer": (
        "Cramér’s V",
        "How much two cells tell of each other: 0 nothing, 1 the one decides the other.",
    ),
    "variation": (
        "total variation",
        "Half the sum of the differences in probability over all words: 0 the same, 1 nothing in "
        "common.",
    ),
    "kl": (
        "KL",
        "Kullback-Leibler divergence, in nats: how surprising the samples are to one who expects "
        "the other distribution.",
    ),
    "captured": (
        "correlations captured",
        "How much of what pairs of cells tell of each other in the language is there in the "
        "samples: 0 nothing, 1 all.",
    ),
}
