"""The engine `verl`: candidates train real language models with VeRL."""
