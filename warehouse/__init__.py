"""The floor everything stands on: settings, the engine, sessions, tables, days and the state database.

It imports nothing of ours, so every room may import it and no circle can form.
"""
