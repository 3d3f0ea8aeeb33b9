"""The Hugging Face Hub protocol, so that `HF_ENDPOINT` can point here: wire shapes only, on the services of all doors.

    urls       the routes
    view       the base of all views: sign-in by token, answers in JSON
    refusals   what is refused, in the headers and words that the stock client understands
    places     what an address names: a repository by its type and id, a revision and a path in it
    paging     pages of lists, by Link
    shapes/    repositories, trees, refs and commits as the client reads them
    views/     one noun a file

The stock client is the judge of what a route must answer; docs/use-from-your-tools.md says which versions are tested.
"""
