"""Training that looks at its own maps: class activation maps become part of the loss."""
