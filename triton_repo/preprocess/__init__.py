"""The model NAME_preprocess: chat template and tokenizer, text in, token ids out."""
