"""The zoo: known algorithms as candidate modules, of the very kind that a search writes."""
