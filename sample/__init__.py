"""A sample company with known truth: a seeded online retailer, so that the platform's answers can be measured."""
