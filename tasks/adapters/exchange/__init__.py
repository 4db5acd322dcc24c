"""Candles from exchanges, through ccxt: the only room that imports it, and only when an exchange is first asked."""
