"""Public JSON schemas, answered by the demo engine."""
