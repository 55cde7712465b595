"""A network that grades and draws: masks of lesions and of the optic disc from the encoder that grades."""
