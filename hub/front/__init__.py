"""The front of the web server: an ASGI application that waits for the network so that no thread of Django's has to.

Django stays synchronous. It is called as a WSGI application, in a bounded pool of threads, and only with a request that
has arrived whole. The event loop does all waiting:

    bodies     receives a body, with a least rate, size limits and a memory budget
    pieces     hands a large upload over in pieces, so that what arrived before a cut is kept
    gateway    calls the WSGI application
    pool       the threads, and how long a request waits for one
    answers    sends a response at the reader's speed
    live       event streams of jobs, fed by one connection to Redis
    caps       how much one address and one user may hold at once
    refusals   what the front itself refuses
    application  joins them

Only `live` and `hub.asgi` know Django; the rest serves any WSGI application.
"""
