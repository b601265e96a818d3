"""JSON schemas as grammars: every text that a grammar allows is JSON that its schema allows, as far as it can say so.

Pure, of no engine's own. What a grammar cannot say is listed in `triton_repo.engine.schema.keywords`.
"""
