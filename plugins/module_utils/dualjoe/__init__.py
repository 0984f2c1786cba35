"""Dual-Joe's library: pure decisions and checks, standard library only.

Modules, guard, jobs and watchdog share it; the roles install it on every machine as the package ``dualjoe``.
"""
