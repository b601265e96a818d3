"""The model NAME_engine: requests join and leave one running batch, tokens leave as deltas."""
