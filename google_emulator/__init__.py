"""A stand-in for Google: metadata server and Cloud SQL's IAM login in front of a real PostgreSQL."""
