"""Senders that live through the same changes of a path: over TCP between namespaces, over rxe between guests."""
