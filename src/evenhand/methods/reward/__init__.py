"""What alignment rewarded: margins between texts, pronouns, and the coverage of preference data."""
