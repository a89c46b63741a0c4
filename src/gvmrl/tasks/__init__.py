"""Where prompts come from: the embedded task, files and hub data sets, and their encoding."""
