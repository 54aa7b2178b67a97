"""Ratings by rater profile, held to the ratings of people."""
