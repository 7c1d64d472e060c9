"""Asks for a token with google-auth's default credentials, and prints it as JSON."""

import json
from datetime import UTC, datetime

import google.auth
from google.auth.transport.requests import Request

credentials, project = google.auth.default(scopes=["https://www.googleapis.com/auth/sqlservice.login"])
credentials.refresh(Request())
expiry = credentials.expiry.replace(tzinfo=UTC)
expires_in = (expiry - datetime.now(UTC)).total_seconds()
print(json.dumps({"project": project, "token": credentials.token, "expires_in": expires_in}))
