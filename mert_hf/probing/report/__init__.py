"""What is told of a probing: results, intervals, pictures."""
