"""Benchmarks: contraflow and its peers on the same work, in one run, interleaved."""
