"""The model NAME_detokenize: token ids in, text out, with no memory between deltas."""
