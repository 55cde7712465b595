"""Sweeps (`-m`): one record of all jobs, one folder per job, states, and the report when the last job ends."""
