"""One module a peer: ``make(workload, threads)`` returns named steps to be timed."""
