"""Evaluation O(z): engines that train a candidate, suites that score a checkpoint, metrics and trajectories."""
