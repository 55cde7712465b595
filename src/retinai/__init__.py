"""retinai: train, evaluate and ship models that read retinal photographs."""

__version__ = "0.1.0"
