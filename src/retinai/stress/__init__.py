"""How a checkpoint's answers hold when photographs get worse, are turned, or come from one group of many."""
