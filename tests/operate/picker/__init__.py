"""A small endpoint picker: Envoy's external processing, and the inference extension's protocol on it."""
