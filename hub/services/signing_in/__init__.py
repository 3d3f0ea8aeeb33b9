"""The one door for signing in: pages and REST call the same functions, so that they can't disagree.

`sign_in` is the way in, `throttle` slows down guessing, `devices` tells a known browser from a stranger, `passwords`
has the rules and the change of a password, `second_factor` the one-time codes, `resets` the links that set a new
password, `sessions` the end of everything.
"""
