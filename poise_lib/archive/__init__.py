"""The lineage archive: entries, tree, utility, Pareto frontier, confirmation statistics, canonical digest."""
