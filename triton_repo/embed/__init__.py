"""The Triton model of an engine that makes no text: embeddings, scores of pairs, or classes."""
