"""Messaging: decorators, routing, binding, conversion, template, dispatch, and the application."""
