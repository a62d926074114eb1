"""The PinSage model: feature encoders, convolutions, head, losses."""
