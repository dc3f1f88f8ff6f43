"""A language model that is none: an OpenAI-compatible server that answers by a script, and fails by it too."""
