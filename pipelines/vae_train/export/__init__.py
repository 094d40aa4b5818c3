"""Export a trained model as a folder that TF Serving loads."""
