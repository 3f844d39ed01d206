"""Controlling a robot in time: loop, filters, limits, watchdog, flight recorder and replay; numpy only."""
