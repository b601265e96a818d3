"""How large a model is, from its `config.json` alone: parameters, and what its cache holds. Pure arithmetic."""

from build_scripts.sizing.reading import model_shape
from build_scripts.sizing.shape import Cache, Layer, ModelShape

__all__ = ["Cache", "Layer", "ModelShape", "model_shape"]
