"""Jobs written down as YAML, to be kept beside other files and run again; and the files of mergekit, read as such."""
