"""One module a command (or a close pair); each is imported when it is called."""
