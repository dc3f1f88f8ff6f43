"""The embedded engine: real reinforcement learning of a small transformer on chains of arithmetic, on one CPU core."""
