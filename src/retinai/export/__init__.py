"""From a checkpoint to a folder that grades without PyTorch: graph, quantisation, check, card."""
