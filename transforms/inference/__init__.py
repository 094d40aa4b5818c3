"""Statistical statements that hold at every look: bounds of means, and the test of exposure."""
