"""What is told of a judging: results, intervals, pictures."""
