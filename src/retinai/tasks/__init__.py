"""What a data set asks of a model; each kind of task is one class, in a file of this folder."""
