"""The broker: sessions, subscriptions, fan-out, receipts, users, events. Sans-I/O, owned by one
thread.
"""
