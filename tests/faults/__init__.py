"""The scorecard of reliability: what breaks things on purpose, and the scenarios that show what then happens."""
