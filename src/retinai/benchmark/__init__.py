"""Speed of graders on a CPU, measured side by side: each in its own process, round by round in turns."""
