"""What a data set asks of a network."""
