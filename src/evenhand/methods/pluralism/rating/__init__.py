"""The rating audit: ratings by rater profile, compared with the ratings of people."""
