"""An animal that was never there: it walks through a scene, filmed by calibrated cameras."""
