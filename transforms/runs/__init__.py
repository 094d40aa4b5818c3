"""Run a batch pipeline once: command line, facts, output folder and run.json."""
