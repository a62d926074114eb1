"""Settings chosen on validation: the model's by Optuna, the baselines' with the same budget."""
