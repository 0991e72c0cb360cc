"""The routes for people and programs, one module a subject; their bodies are ``parley.api``'s."""
