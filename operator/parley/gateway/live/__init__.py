"""What one gateway hears of as it happens: who waits for an attempt, and who reads a session along.

A notification is a hint: whoever is woken reads the store. What comes only here are the pieces of an answer that is
under way; the committed event brings the whole. It may import ``parley.store``; nothing else of the gateway.
"""
