"""Speed and conformance, as commands: ``python -m benchmarks.speed``, ``python -m
benchmarks.conformance``."""
