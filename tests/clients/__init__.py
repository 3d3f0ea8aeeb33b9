"""The clients that people have, against a hub that is served: what they call, and what comes of it.

`journeys/` are the calls, run in the environment of the client under test: they import no part of the hub. `driving`
starts one, `environments` makes a client's environment under `build/clients`, `world` is the hub that they find,
`table` writes what came of it into docs/use-from-your-tools.md.
"""
