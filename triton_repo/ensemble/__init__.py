"""The ensemble NAME: preprocess, engine, detokenize wired by tensor name."""
