"""The candidate contract and the zoo of known algorithms written against it."""
