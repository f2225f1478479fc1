"""Object stores on this machine for tests: their servers, and a proxy that misbehaves."""
