"""What the pump did, from what the sensor saw: samples, cycles, features."""
