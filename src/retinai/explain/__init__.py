"""Maps of what a network's answer rests on, and measures of whether they show what they should."""
