"""Whether the nearest neighbours of vectors are any good: the same piece is changed, and looked for among all pieces."""
