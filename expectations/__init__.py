"""Gates between the layers: Great Expectations suites, the command that runs them, and the report a person reads."""
