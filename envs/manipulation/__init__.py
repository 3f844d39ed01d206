"""Robot arms and hands with sparse goals: the Fetch family and Adroit's tasks."""
