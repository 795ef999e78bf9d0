"""How the paper's two numbers, β and λ_min, decide accuracy and FLOPs."""
