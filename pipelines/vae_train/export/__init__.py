"""The trained model as a folder that TF Serving loads."""
