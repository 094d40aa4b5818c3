"""One run of a batch pipeline: command line, facts, output folder and run.json."""
