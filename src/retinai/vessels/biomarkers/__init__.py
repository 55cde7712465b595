"""Numbers of the vessels of a photograph: calibres, tortuosity, density, fractal dimension."""
