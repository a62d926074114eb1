"""What runs when: Prefect flows around the library `pinsage`, recorded in MLflow."""
