"""Who is asking: access keys, tokens, sessions, rate limits and the guard in front of every route."""
