"""Xet, as the stock Hugging Face client uploads: chunks in xorbs, files as terms over them in shards.

Bytes go in, facts come out: `xorbs` reads what holds the data, `shards` what says which files it makes, and `files`
puts them together and proves that they are what was claimed. Nothing here knows a row, a user or a request.
Source: the published specification, https://huggingface.co/docs/xet.
"""
