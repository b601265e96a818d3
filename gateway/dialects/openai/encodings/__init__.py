"""Embeddings, and what other servers added for encoders: reranking, scores of pairs, and classes."""
