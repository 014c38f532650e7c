"""The command line: parses, then delegates to the rooms, each imported only when its command is called."""
