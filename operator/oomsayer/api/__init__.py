"""The custom resources and the vocabulary people see. Only vocabulary.py stands on the lower floor."""
