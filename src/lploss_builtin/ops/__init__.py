"""Pure differentiable functions on tensors; they return element-wise values."""
