"""Real database servers for tests: PostgreSQL, and an Oracle Net server that stands on it."""
