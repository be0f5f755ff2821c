"""Virtual trials that others have published, as decision problems of this library: one file a publication.

Every module of this folder that has `PROTOCOLS` adds them to what `dosewright.envs.scenario` knows. They are
no further drugs: `dosewright.envs.scenarios.names` leaves them out.
"""
